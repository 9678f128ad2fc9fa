// The C interface over the classes. Python checks indices; a wrong one here is a bug of ours.

#include "profile.hpp"
#include "world.hpp"

struct tr_world : tailrace::World {
    using World::World;
};

using tailrace::AxiMemory;
using tailrace::Device;
using tailrace::MacPort;

static tailrace::Space &space_of(tr_world *world, uint32_t device, uint32_t function) {
    return *world->device(device)->pcie->requester.spaces[function];
}

extern "C" {

tr_world *tr_new(uint32_t devices, uint64_t seed) {
    return new tr_world(devices, seed);
}

void tr_free(tr_world *world) {
    delete world;
}

uint64_t tr_now(tr_world *world) {
    return world->now();
}

uint32_t tr_pins(tr_world *, const tr_pin **pins) {
    *pins = tailrace::pin_table;
    return tailrace::pin_count;
}

void tr_peek(tr_world *world, uint32_t device, uint32_t pin, uint32_t *words) {
    world->device(device)->peek(pin, words);
}

void tr_poke(tr_world *world, uint32_t device, uint32_t pin, const uint32_t *words) {
    world->poke(device, pin, words);
}

void tr_clock(tr_world *world, uint32_t device, uint32_t pin, uint64_t period, uint64_t phase) {
    world->device(device)->run_clock(pin, period, phase, world->now());
}

uint64_t tr_cycles(tr_world *world, uint32_t device, uint32_t pin) {
    return world->device(device)->clock(pin).cycles;
}

void tr_watch(tr_world *world, uint32_t device, uint64_t pins) {
    world->device(device)->watched = pins;
}

int32_t tr_run(tr_world *world, uint64_t until) {
    return world->run(until);
}

void tr_wake(tr_world *world, int32_t fd) {
    world->wake = fd;
}

uint32_t tr_events(tr_world *world, const tr_event **events) {
    return world->fetch(events);
}

tr_pcie *tr_pcie_of(tr_world *world, uint32_t device) {
    return &world->device(device)->pcie->settings;
}

void tr_memory(tr_world *world, uint32_t device, uint8_t *data, uint64_t base, uint64_t size,
               const uint8_t *mapped) {
    world->device(device)->pcie->requester.memory.attach(data, base, size, mapped);
}

tr_space *tr_space_of(tr_world *world, uint32_t device, uint32_t function) {
    return &space_of(world, device, function).settings;
}

int32_t tr_map(tr_world *world, uint32_t device, uint32_t function, int32_t fd, uint64_t offset,
               uint64_t base, uint64_t size, uint32_t access) {
    return space_of(world, device, function).map(fd, offset, base, size, access);
}

int32_t tr_unmap(tr_world *world, uint32_t device, uint32_t function, uint64_t base,
                 uint64_t size) {
    return space_of(world, device, function).unmap(base, size);
}

void tr_unmap_all(tr_world *world, uint32_t device, uint32_t function) {
    space_of(world, device, function).unmap_all();
}

void tr_space_end(tr_world *world, uint32_t device, uint32_t function) {
    space_of(world, device, function).end();
}

void tr_answer(tr_world *world, uint32_t device, uint32_t function, uint64_t number,
               const uint8_t *data, uint64_t length, uint32_t good) {
    space_of(world, device, function).answer(number, data, length, good != 0);
}

void tr_pcie_fault(tr_world *world, uint32_t device, const uint64_t *low, const uint64_t *high,
                   uint32_t count) {
    auto &faults = world->device(device)->pcie->requester.faults;
    faults.clear();
    for (uint32_t index = 0; index < count; ++index) {
        faults.push_back({low[index], high[index]});
    }
}

void tr_pcie_complete(tr_world *world, uint32_t device, const uint32_t *dwords, uint32_t count,
                      uint32_t discontinue) {
    world->device(device)->pcie->requester.complete(dwords, count, discontinue != 0);
}

void tr_pcie_end(tr_world *world, uint32_t device, uint32_t function, uint32_t code) {
    world->device(device)->pcie->requester.end(function, code);
}

void tr_pcie_request(tr_world *world, uint32_t device, const uint32_t *dwords, uint32_t count,
                     uint32_t first_be, uint32_t last_be) {
    world->device(device)->pcie->cq.send(dwords, count, first_be, last_be);
}

uint32_t tr_pcie_pending(tr_world *world, uint32_t device) {
    return world->device(device)->pcie->cq.pending();
}

tr_port *tr_port_of(tr_world *world, uint32_t device, uint32_t port) {
    MacPort *found = world->device(device)->port(port);
    return found == nullptr ? nullptr : &found->settings;
}

uint64_t tr_port_send(tr_world *world, uint32_t device, uint32_t port, const uint8_t *data,
                      uint32_t length, uint32_t error) {
    return world->device(device)->port(port)->send(data, length, error != 0);
}

void tr_port_pattern(tr_world *world, uint32_t device, uint32_t port, uint32_t which,
                     const uint8_t *stalls, uint32_t length) {
    MacPort &found = *world->device(device)->port(port);
    (which == 0 ? found.gaps : found.stalls).append(stalls, length);
}

tr_axi *tr_axi_of(tr_world *world, uint32_t device, uint32_t memory) {
    AxiMemory *found = world->device(device)->memory(memory);
    return found == nullptr ? nullptr : &found->settings;
}

void tr_axi_memory(tr_world *world, uint32_t device, uint32_t memory, uint8_t *data, uint64_t base,
                   uint64_t size) {
    world->device(device)->memory(memory)->attach(data, base, size);
}

void tr_axi_fault(tr_world *world, uint32_t device, uint32_t memory, const uint64_t *low,
                  const uint64_t *high, const uint32_t *response, uint32_t count) {
    auto &faults = world->device(device)->memory(memory)->faults;
    faults.clear();
    for (uint32_t index = 0; index < count; ++index) {
        faults.push_back({low[index], high[index], response[index]});
    }
}

tr_link *tr_connect(tr_world *world, uint32_t from, uint32_t from_port, uint32_t to,
                    uint32_t to_port) {
    tailrace::Link *link = world->connect(from, from_port, to, to_port);
    return link == nullptr ? nullptr : &link->settings;
}

int32_t tr_waves(tr_world *world, uint32_t device, const char *path, uint64_t from, uint64_t to) {
    Device &found = *world->device(device);
    found.open_waves(path, from, to);
    return tailrace::Waves::built;
}

void tr_flush(tr_world *world) {
    world->flush();
}

int32_t tr_profile(uint32_t hz) {
    return tailrace::profile(hz);
}

uint32_t tr_samples(const uint32_t **counts, uint64_t *elsewhere) {
    return tailrace::samples(counts, elsewhere);
}

}  // extern "C"
