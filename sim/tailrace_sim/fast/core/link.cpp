#include "link.hpp"

#include "mac_port.hpp"

namespace tailrace {

constexpr uint64_t whole = 1000000;

Link::Link(uint64_t seed, uint64_t index) : random_(seed, Purpose::link, index) {}

void Link::take(const uint8_t *data, uint32_t length, uint64_t now) {
    settings.taken += 1;
    if (random_.chance(settings.loss, whole)) {
        settings.lost += 1;
        return;
    }
    const bool twice = random_.chance(settings.duplicate, whole);
    settings.duplicated += twice;
    for (int copy = 0; copy < 1 + twice; ++copy) {
        Frame frame{now + settings.delay, order_++, false, {data, data + length}};
        if (random_.chance(settings.corrupt, whole)) {
            settings.corrupted += 1;
            frame.error = true;
            frame.data[random_.below(length)] ^= static_cast<uint8_t>(1u << random_.below(8));
        }
        if (random_.chance(settings.reorder, whole)) {
            settings.reordered += 1;
            frame.time += settings.reorder_delay;
        }
        under_way_.push(std::move(frame));
    }
    settings.under_way = under_way_.size();
}

void Link::deliver_first(MacPort &port) {
    const Frame &frame = under_way_.top();
    port.deliver(frame.data.data(), static_cast<uint32_t>(frame.data.size()), frame.error, *this);
    under_way_.pop();
    settings.under_way = under_way_.size();
    settings.arrived += 1;
}

}  // namespace tailrace
