#include "world.hpp"

#include <algorithm>

#include <poll.h>

namespace tailrace {

constexpr uint64_t never = ~uint64_t{0};
// Edges between two looks at what wakes us: a call of the system takes a part of a cycle.
constexpr uint32_t look = 2;

World::World(uint32_t devices, uint64_t seed) : seed_(seed) {
    for (uint32_t index = 0; index < devices; ++index) {
        devices_.push_back(
            std::make_unique<Device>(index, seed, events_, now_, urgent_, deadline_));
    }
}

void World::poke(uint32_t device, uint32_t pin, const uint32_t *words) {
    if (at_edge_) {
        devices_[device]->poke_later(pin, words);
    } else {
        devices_[device]->poke(pin, words);
    }
}

void World::edge() {
    for (const auto &device : devices_) {
        if (device->next_edge() == now_) {
            device->edge(now_);
        } else if (at_edge_) {
            device->settle();
        }
    }
    at_edge_ = false;
}

bool World::is_woken() {
    if (wake < 0 || ++unlooked_ < look) {
        return false;
    }
    unlooked_ = 0;
    pollfd waited = {wake, POLLIN, 0};
    return poll(&waited, 1, 0) > 0;
}

int32_t World::run(uint64_t until) {
    events_.forget();
    while (true) {
        uint64_t next = never;
        for (const auto &device : devices_) {
            next = std::min(next, device->next_edge());
        }
        if (at_edge_ && next != now_) {
            edge();  // its clock was stopped in the meantime: only the pokes are left
        }
        if (next >= until && !at_edge_) {
            now_ = std::max(now_, until);
            return TR_TIME;
        }
        now_ = next;
        if (!at_edge_ && std::any_of(devices_.begin(), devices_.end(), [this](const auto &device) {
                return device->watched != 0 && device->is_watched(now_);
            })) {
            at_edge_ = true;
            return TR_EDGE;
        }
        edge();
        if (urgent_ || now_ >= deadline_) {
            return TR_EVENT;
        }
        if (is_woken()) {
            return TR_WAKE;
        }
    }
}

uint32_t World::fetch(const tr_event **events) {
    urgent_ = false;
    deadline_ = never;
    return events_.fetch(events);
}

Link *World::connect(uint32_t from, uint32_t from_port, uint32_t to, uint32_t to_port) {
    Device *source = device(from), *target = device(to);
    if (source == nullptr || target == nullptr || source->port(from_port) == nullptr ||
        target->port(to_port) == nullptr) {
        return nullptr;
    }
    links_.push_back(std::make_unique<Link>(seed_, links_.size()));
    source->port(from_port)->egress = links_.back().get();
    target->port(to_port)->ingress.push_back(links_.back().get());
    return links_.back().get();
}

void World::flush() {
    for (const auto &device : devices_) {
        device->flush_waves();
    }
}

}  // namespace tailrace
