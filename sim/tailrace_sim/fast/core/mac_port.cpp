#include "mac_port.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "link.hpp"

namespace tailrace {

constexpr uint32_t longest = 65536;  // bytes of a frame that is still put together

void FrameQueue::push(const uint8_t *data, uint32_t length, bool error, uint64_t number,
                      Link *link) {
    if (frames_.empty()) {
        bytes_.clear();
    } else if (frames_.front().offset > (1u << 20) && frames_.front().offset > bytes_.size() / 2) {
        const size_t gone = frames_.front().offset;
        bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(gone));
        for (Frame &frame : frames_) {
            frame.offset -= gone;
        }
    }
    frames_.push_back({bytes_.size(), length, error, number, link});
    bytes_.insert(bytes_.end(), data, data + length);
}

void FrameQueue::pop() {
    frames_.pop_front();
}

void Pattern::append(const uint8_t *stalls, uint32_t length) {
    stalls_.erase(stalls_.begin(), stalls_.begin() + static_cast<std::ptrdiff_t>(place_));
    place_ = 0;
    stalls_.insert(stalls_.end(), stalls, stalls + length);
    if (length == 0) {
        stalls_.clear();
    }
}

bool Pattern::next(bool &ran_out) {
    ran_out = false;
    if (place_ == stalls_.size()) {
        return false;
    }
    const bool stall = stalls_[place_++] != 0;
    ran_out = place_ == stalls_.size();
    return stall;
}

static std::string name(uint32_t index, const char *rest) {
    return "port" + std::to_string(index) + "__" + rest;
}

MacPort::MacPort(Pins &pins, Reporter &reporter, uint32_t index)
    : rx_valid_(pins.find(name(index, "rx__tvalid"))),
      rx_ready_(pins.find(name(index, "rx__tready"))),
      rx_last_(pins.find(name(index, "rx__tlast"))), rx_data_(pins.find(name(index, "rx__tdata"))),
      rx_keep_(pins.find(name(index, "rx__tkeep"))), rx_user_(pins.find(name(index, "rx__tuser"))),
      tx_valid_(pins.find(name(index, "tx__tvalid"))),
      tx_ready_(pins.find(name(index, "tx__tready"))),
      tx_last_(pins.find(name(index, "tx__tlast"))), tx_data_(pins.find(name(index, "tx__tdata"))),
      tx_keep_(pins.find(name(index, "tx__tkeep"))), reporter_(reporter), index_(index),
      lanes_(rx_data_.bits() / 8) {}

uint64_t MacPort::send(const uint8_t *data, uint32_t length, bool error) {
    settings.waiting += 1;
    queue_.push(data, length, error, numbers_, nullptr);
    return numbers_++;
}

void MacPort::deliver(const uint8_t *data, uint32_t length, bool error, Link &link) {
    settings.waiting += 1;
    queue_.push(data, length, error, 0, &link);
}

void MacPort::reset() {
    for (const Pin &pin : {rx_valid_, rx_last_, rx_data_, rx_keep_, rx_user_, tx_ready_}) {
        pin.clear();
    }
    // A frame that the device saw the start of comes again from its start.
    offered_ = 0;
    begun_ = false;
    frame_.clear();
    broken_ = false;
}

bool MacPort::stalled(Pattern &pattern, uint32_t which) {
    bool ran_out = false;
    const bool stall = pattern.next(ran_out);
    if (ran_out) {
        reporter_.report(TR_PATTERN, index_, which);
    }
    return stall;
}

// Cycles

void MacPort::sample(uint64_t cycle, uint64_t period) {
    for (Link *link : ingress) {
        link->deliver(*this, reporter_.now());
    }
    if (rx_valid_.flag()) {
        taken_in(cycle, period);
    }
    if (tx_valid_.flag() && tx_ready_.flag()) {
        take_out(cycle, period);
    }
}

void MacPort::drive() {
    ++since_start_;
    const bool offers = may_offer();
    if (offers) {
        since_start_ = offered_ == 0 ? 0 : since_start_;
        offer();
    }
    rx_valid_.flag(offers);
    const bool stall = stalled(stalls, 1);
    tx_ready_.flag(!stall && settings.hold == 0);
}

// Into the device

void MacPort::taken_in(uint64_t cycle, uint64_t period) {
    if (!rx_ready_.flag()) {
        reporter_.broken(name(index_, "rx: tready is 0, but a MAC cannot wait"));
    }
    if (!begun_) {
        started_ = cycle;
        begun_ = true;
    }
    const FrameQueue::Frame &frame = queue_.front();
    if (offered_ < frame.length) {
        return;
    }
    settings.frames_in += 1;
    settings.bytes_in += frame.length;
    settings.waiting -= 1;
    if (frame.link != nullptr) {
        frame.link->entered();
        if (settings.export_links != 0) {
            reporter_.report_later(settings.frame_stride * period, TR_LINK_IN,
                                   {index_, started_, cycle, frame.error},
                                   {queue_.data(), frame.length});
        }
    } else {
        reporter_.report_later(settings.frame_stride * period, TR_FRAME_IN,
                               {index_, started_, cycle, frame.number}, {});
    }
    queue_.pop();
    offered_ = 0;
    begun_ = false;
}

bool MacPort::may_offer() {
    if (settings.rate != 0) {
        credit_ = std::min<uint64_t>(credit_ + settings.rate, uint64_t{lanes_} << 8);
    }
    if (queue_.empty()) {
        return false;
    }
    if (offered_ == 0 && (settings.pause != 0 || since_start_ < settings.spacing)) {
        return false;
    }
    if (settings.rate != 0) {
        const uint64_t cost =
            uint64_t{std::min(lanes_, queue_.front().length - offered_)} << 8;
        if (credit_ < cost || stalled(gaps, 0)) {
            return false;
        }
        credit_ -= cost;
        return true;
    }
    return !stalled(gaps, 0);
}

void MacPort::offer() {
    const FrameQueue::Frame &frame = queue_.front();
    const uint32_t count = std::min(lanes_, frame.length - offered_);
    std::memcpy(rx_data_.bytes(), queue_.data() + offered_, count);
    std::memset(rx_data_.bytes() + count, 0, lanes_ - count);
    offered_ += count;
    const bool last = offered_ == frame.length;
    if (count == lanes_) {
        std::memset(rx_keep_.bytes(), 0xFF, lanes_ / 8);
    } else {
        std::memset(rx_keep_.bytes(), 0, lanes_ / 8);
        std::memset(rx_keep_.bytes(), 0xFF, count / 8);
        rx_keep_.bytes()[count / 8] = static_cast<uint8_t>((1u << (count % 8)) - 1);
    }
    rx_last_.flag(last);
    rx_user_.flag(last && frame.error);
}

// Out of it

void MacPort::take_out(uint64_t cycle, uint64_t period) {
    if (frame_.empty()) {
        first_ = cycle;
    }
    const bool last = tx_last_.flag();
    const uint8_t *keep = tx_keep_.bytes();
    uint32_t count = 0;
    while (count < lanes_ / 8 && keep[count] == 0xFF) {
        ++count;
    }
    const uint8_t rest = count < lanes_ / 8 ? keep[count] : 0;
    bool holes = (rest & (rest + 1)) != 0;
    for (uint32_t byte = count + 1; byte < lanes_ / 8; ++byte) {
        holes |= keep[byte] != 0;
    }
    count = 8 * count + static_cast<uint32_t>(std::bit_width(rest));
    if (!broken_ && (holes || count == 0 || (!last && count != lanes_))) {
        broken_ = true;
        reporter_.broken(name(index_, "tx: tkeep has holes, is 0, or is not full before the end"));
    }
    if (frame_.size() > longest && !broken_) {
        broken_ = true;
        reporter_.broken(name(index_, "tx: a frame without end"));
    }
    if (frame_.size() <= longest) {
        frame_.insert(frame_.end(), tx_data_.bytes(), tx_data_.bytes() + count);
    }
    if (last) {
        frame_out(cycle, period);
    }
}

void MacPort::frame_out(uint64_t cycle, uint64_t period) {
    const auto length = static_cast<uint32_t>(frame_.size());
    settings.frames_out += 1;
    settings.bytes_out += length;
    if (egress != nullptr) {
        egress->take(frame_.data(), length, reporter_.now());
    }
    if (egress == nullptr || settings.export_links != 0) {
        reporter_.report_later(settings.frame_stride * period,
                               egress == nullptr ? TR_FRAME_OUT : TR_LINK_OUT,
                               {index_, first_, cycle, 0}, {frame_.data(), length});
    }
    frame_.clear();
    broken_ = false;
}

}  // namespace tailrace
