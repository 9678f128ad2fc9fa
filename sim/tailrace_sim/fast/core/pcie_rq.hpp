// The requester request interface: beats to TLPs.

#pragma once

#include <cstdint>

#include "events.hpp"
#include "pcie_tlp.hpp"
#include "pins.hpp"
#include "random.hpp"

namespace tailrace {

class RqSink {
public:
    RqSink(Pins &pins, Reporter &reporter, uint64_t seed, uint32_t device);

    // At an edge, before it: takes the beat that the design offers, if there is one. Calls
    // `take(request)` for each TLP that is complete, in order.
    template <typename Take>
    void sample(Take &&take) {
        if (!valid_.flag() || !ready_.flag()) {
            return;
        }
        Piece pieces[3];
        const int count = wide_ ? pieces_of_wide(pieces) : pieces_of_narrow(pieces);
        for (int index = 0; index < count; ++index) {
            if (append(pieces[index])) {
                take(request_);
            }
        }
    }

    void drive(uint32_t stall);
    void reset();

private:
    // What a beat holds of one TLP: lanes [first, end). `start` is its place among the TLPs that
    // start in this beat, -1 if it goes on from the last beat.
    struct Piece {
        int start;
        uint32_t first, end;
        bool last;
    };

    int pieces_of_wide(Piece *pieces);
    int pieces_of_narrow(Piece *pieces);
    bool append(const Piece &piece);
    void start(int place);
    int fail(const char *text);

    Pin valid_, ready_, last_, data_, keep_, user_;
    Reporter &reporter_;
    Random stall_;
    bool wide_;
    bool open_ = false;
    Request request_;
};

}  // namespace tailrace
