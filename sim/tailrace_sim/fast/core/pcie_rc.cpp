#include "pcie_rc.hpp"

#include <algorithm>
#include <cstring>

namespace tailrace {

RcSource::RcSource(Pins &pins, const tr_pcie &settings, Reporter &reporter, Requester &requester,
                   uint64_t seed, uint32_t device)
    : valid_(pins.find("pcie__rc__tvalid")), ready_(pins.find("pcie__rc__tready")),
      last_(pins.find("pcie__rc__tlast")), data_(pins.find("pcie__rc__tdata")),
      keep_(pins.find("pcie__rc__tkeep")), user_(pins.find("pcie__rc__tuser")),
      settings_(settings), reporter_(reporter), requester_(requester),
      stall_(seed, Purpose::stall_rc, device), wide_(data_.bits() == 512) {}

void RcSource::reset() {
    for (const Pin &pin : {valid_, last_, data_, keep_, user_}) {
        pin.clear();
    }
    taken_ = true;
    open_ = false;
}

bool RcSource::next() {
    if (!open_) {
        open_ = requester_.next(completion_);
        done_ = 0;
    }
    return open_;
}

void RcSource::drive(uint32_t stall) {
    if (!taken_) {
        return;
    }
    if (stall_.chance(stall, 256) || !next()) {
        valid_.flag(false);
        return;
    }
    data_.clear();
    keep_.clear();
    user_.clear();
    last_.flag(false);
    starts_ = ends_ = 0;
    if (wide_) {
        put(0, 8);
        if (next()) {
            put(8, 8);
        }
    } else {
        put(0, data_.bits() / 32);
        last_.flag(!open_);
    }
    valid_.flag(true);
}

void RcSource::start(uint32_t first) {
    set_bits(user_.bytes(), (wide_ ? 64 : 32) + starts_, 1, 1);
    if (wide_) {
        set_bits(user_.bytes(), 68 + 2 * starts_, 2, first / 4);
    }
    ++starts_;
}

void RcSource::end(uint32_t last) {
    set_bits(user_.bytes(), wide_ ? 76 + ends_ : 34 + 4 * ends_, 1, 1);
    set_bits(user_.bytes(), (wide_ ? 80 : 35) + 4 * ends_, wide_ ? 4 : 3, last);
    if (completion_.discontinue) {
        set_bits(user_.bytes(), wide_ ? 96 : 42, 1, 1);
    }
    ++ends_;
    open_ = false;
    if (settings_.export_completions != 0) {
        reporter_.report(TR_READ_COMPLETION, completion_.discontinue, 0, 0, 0,
                         {completion_.dwords.data(), 4 * completion_.count});
    }
}

// As much of the open TLP as fits into `lanes` dwords from `first` on.
void RcSource::put(uint32_t first, uint32_t lanes) {
    if (done_ == 0) {
        start(first);
    }
    const uint32_t count = std::min(lanes, completion_.count - done_);
    std::memcpy(data_.bytes() + 4 * first, completion_.dwords.data() + done_, 4 * count);
    set_bits(keep_.bytes(), first, count, ~0u);
    // Byte enables: of bytes [low, high) of the TLP those that are in this piece.
    const uint32_t low = 4 * completion_header + completion_.offset, high = low + completion_.used;
    const uint32_t from = std::max(low, 4 * done_), to = std::min(high, 4 * (done_ + count));
    if (from < to) {
        set_bits(user_.bytes(), 4 * first + from - 4 * done_, to - from, ~0u);
    }
    done_ += count;
    if (done_ == completion_.count) {
        end(first + count - 1);
    }
}

}  // namespace tailrace
