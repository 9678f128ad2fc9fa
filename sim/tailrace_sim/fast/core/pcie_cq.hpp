// The completer request interface: Python's requests to beats. One TLP a beat at any width.

#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "pins.hpp"

namespace tailrace {

class CqSource {
public:
    explicit CqSource(Pins &pins);

    void send(const uint32_t *dwords, uint32_t count, uint32_t first_be, uint32_t last_be);
    uint32_t pending() const { return static_cast<uint32_t>(requests_.size()); }

    // At an edge, before it.
    void sample();
    void drive();
    void reset();

private:
    struct Request {
        std::vector<uint32_t> dwords;
        uint32_t first_be, last_be;
    };

    void beat(const Request &request);

    Pin valid_, ready_, last_, data_, keep_, user_;
    bool wide_;
    bool idle_ = true;   // no beat is offered
    uint32_t done_ = 0;  // dwords of the first request that are in beats
    std::deque<Request> requests_;
};

}  // namespace tailrace
