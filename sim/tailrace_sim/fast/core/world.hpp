// Devices that share time.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "api.hpp"
#include "device.hpp"
#include "events.hpp"
#include "link.hpp"

namespace tailrace {

class World {
public:
    World(uint32_t devices, uint64_t seed);

    uint64_t now() const { return now_; }
    Device *device(uint32_t index) {
        return index < devices_.size() ? devices_[index].get() : nullptr;
    }

    void poke(uint32_t device, uint32_t pin, const uint32_t *words);
    int32_t run(uint64_t until);
    uint32_t fetch(const tr_event **events);
    Link *connect(uint32_t from, uint32_t from_port, uint32_t to, uint32_t to_port);
    void flush();

    int32_t wake = -1;

private:
    void edge();
    bool is_woken();

    uint64_t seed_, now_ = 0;
    Events events_;
    bool urgent_ = false;                // an event ends the stride
    uint64_t deadline_ = ~uint64_t{0};   // so does an event at this time
    uint32_t unlooked_ = 0;              // edges since the last look at `wake`
    bool at_edge_ = false;               // the last stride ended before an edge that is due
    std::vector<std::unique_ptr<Device>> devices_;
    std::vector<std::unique_ptr<Link>> links_;
};

}  // namespace tailrace
