// A direction of a cable between two ports of the world, and what may happen on it.

#pragma once

#include <cstdint>
#include <queue>
#include <vector>

#include "api.hpp"
#include "random.hpp"

namespace tailrace {

class MacPort;

class Link {
public:
    Link(uint64_t seed, uint64_t index);

    tr_link settings = {};

    // A frame whose last beat has left the one port.
    void take(const uint8_t *data, uint32_t length, uint64_t now);

    // Give the other port what has arrived there.
    void deliver(MacPort &port, uint64_t now) {
        while (!under_way_.empty() && under_way_.top().time <= now) {
            deliver_first(port);
        }
    }

    // A frame has entered the other device completely.
    void entered() { settings.delivered += 1; }

private:
    struct Frame {
        uint64_t time, order;
        bool error;
        std::vector<uint8_t> data;

        // The top of a priority queue is what compares greatest.
        bool operator<(const Frame &other) const {
            return time != other.time ? time > other.time : order > other.order;
        }
    };

    void deliver_first(MacPort &port);

    Random random_;
    std::priority_queue<Frame> under_way_;
    uint64_t order_ = 0;
};

}  // namespace tailrace
