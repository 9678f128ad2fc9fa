#include "pcie_cq.hpp"

#include <algorithm>
#include <cstring>

#include "pcie_tlp.hpp"

namespace tailrace {

CqSource::CqSource(Pins &pins)
    : valid_(pins.find("pcie__cq__tvalid")), ready_(pins.find("pcie__cq__tready")),
      last_(pins.find("pcie__cq__tlast")), data_(pins.find("pcie__cq__tdata")),
      keep_(pins.find("pcie__cq__tkeep")), user_(pins.find("pcie__cq__tuser")),
      wide_(data_.bits() == 512) {}

void CqSource::send(const uint32_t *dwords, uint32_t count, uint32_t first_be, uint32_t last_be) {
    requests_.push_back({{dwords, dwords + count}, first_be, last_be});
}

void CqSource::reset() {
    for (const Pin &pin : {valid_, last_, data_, keep_, user_}) {
        pin.clear();
    }
    // What the design saw the start of is lost; the others wait for the end of the reset.
    if (done_ != 0) {
        requests_.pop_front();
    }
    done_ = 0;
    idle_ = true;
}

void CqSource::sample() {
    if (idle_ || !ready_.flag()) {
        return;
    }
    idle_ = true;
    if (done_ == requests_.front().dwords.size()) {
        requests_.pop_front();
        done_ = 0;
    }
}

void CqSource::drive() {
    if (!idle_) {
        return;
    }
    const bool some = !requests_.empty();
    if (some) {
        beat(requests_.front());
    }
    valid_.flag(some);
    idle_ = !some;
}

void CqSource::beat(const Request &request) {
    const auto total = static_cast<uint32_t>(request.dwords.size());
    const uint32_t count = std::min(data_.bits() / 32, total - done_);
    uint8_t *user = user_.bytes();
    data_.clear();
    keep_.clear();
    user_.clear();
    std::memcpy(data_.bytes(), request.dwords.data() + done_, 4 * count);
    set_bits(keep_.bytes(), 0, count, ~0u);
    if (done_ == 0) {
        set_bits(user, 0, 4, request.first_be);
        set_bits(user, wide_ ? 8 : 4, 4, request.last_be);
        set_bits(user, wide_ ? 80 : 40, 1, 1);
    }
    for (uint32_t lane = 0; lane < count; ++lane) {
        const uint32_t place = done_ + lane;
        const uint32_t enables = place < request_header      ? 0
                                 : place == request_header   ? request.first_be
                                 : place + 1 == total        ? request.last_be
                                                             : 15;
        set_bits(user, (wide_ ? 16 : 8) + 4 * lane, 4, enables);
    }
    done_ += count;
    last_.flag(done_ == total);
    if (done_ == total && wide_) {
        set_bits(user, 86, 1, 1);
        set_bits(user, 88, 4, count - 1);
    }
}

}  // namespace tailrace
