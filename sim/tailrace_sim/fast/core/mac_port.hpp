// The wire side of a port: what a MAC and the network behind it do.

#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "events.hpp"
#include "pins.hpp"

namespace tailrace {

class Link;

// Frames that wait, one behind the other in one block of bytes.
class FrameQueue {
public:
    struct Frame {
        size_t offset;
        uint32_t length;
        bool error;
        uint64_t number;
        Link *link;  // it came over; none: Python sent it
    };

    void push(const uint8_t *data, uint32_t length, bool error, uint64_t number, Link *link);
    void pop();

    bool empty() const { return frames_.empty(); }
    size_t size() const { return frames_.size(); }
    const Frame &front() const { return frames_.front(); }
    const uint8_t *data() const { return bytes_.data() + frames_.front().offset; }

private:
    std::deque<Frame> frames_;
    std::vector<uint8_t> bytes_;
};

// A byte a cycle that says whether to stall, until it runs out.
class Pattern {
public:
    void append(const uint8_t *stalls, uint32_t length);
    // The next one; `ran_out` is set if it was the last.
    bool next(bool &ran_out);

private:
    std::vector<uint8_t> stalls_;
    size_t place_ = 0;
};

class MacPort {
public:
    MacPort(Pins &pins, Reporter &reporter, uint32_t index);

    tr_port settings = {};
    Pattern gaps, stalls;
    Link *egress = nullptr;  // where frames go; none: to Python
    std::vector<Link *> ingress;

    uint64_t send(const uint8_t *data, uint32_t length, bool error);
    // From a link.
    void deliver(const uint8_t *data, uint32_t length, bool error, Link &link);

    // At an edge of the port's clock, before it.
    void sample(uint64_t cycle, uint64_t period);
    // Behind the edge.
    void drive();
    void reset();

private:
    void take_out(uint64_t cycle, uint64_t period);
    void frame_out(uint64_t cycle, uint64_t period);
    void taken_in(uint64_t cycle, uint64_t period);
    bool may_offer();
    void offer();
    bool stalled(Pattern &pattern, uint32_t which);

    Pin rx_valid_, rx_ready_, rx_last_, rx_data_, rx_keep_, rx_user_;
    Pin tx_valid_, tx_ready_, tx_last_, tx_data_, tx_keep_;
    Reporter &reporter_;
    uint32_t index_, lanes_;
    // Into the device.
    FrameQueue queue_;
    uint64_t numbers_ = 0, started_ = 0, credit_ = 0;
    uint64_t since_start_ = ~uint64_t{0} >> 1;  // cycles, of the last frame's first beat
    uint32_t offered_ = 0;  // bytes of the first frame that are in beats
    bool begun_ = false;    // its first beat has entered
    // Out of it.
    std::vector<uint8_t> frame_;
    bool broken_ = false;
    uint64_t first_ = 0;
};

}  // namespace tailrace
