#include "device.hpp"

#include <algorithm>
#include <string>

namespace tailrace {

constexpr uint64_t never = ~uint64_t{0};

static VerilatedContext *prepared(VerilatedContext &context) {
    context.traceEverOn(Waves::built);
    return &context;
}

Device::Device(uint32_t index, uint64_t seed, Events &events, const uint64_t &now, bool &urgent,
               uint64_t &deadline)
    : model_(std::make_unique<Vdevice>(prepared(context_), "tailrace")), pins_(*model_),
      reporter_(events, now, urgent, deadline, index) {
    add_domains(seed, index);
    model_->eval();
}

Device::~Device() {
    waves_.close();
    model_->final();
}

void Device::add_domains(uint64_t seed, uint32_t index) {
    if (pins_.has("pcie__rq__tvalid")) {
        pcie = std::make_unique<Pcie>(pins_, reporter_, seed, index);
    }
    for (uint32_t pin = 0; pin < pin_count; ++pin) {
        const std::string name = pin_table[pin].name;
        const bool core = name == "clk";
        if (!core && !name.ends_with("_clk")) {
            continue;
        }
        Clock &made = clock(pin);
        made.reset = pins_.find(core ? "rst" : name.substr(0, name.size() - 3) + "rst");
        if (core) {
            made.pcie = pcie.get();
        } else if (name.starts_with("port") && pins_.has(name.substr(0, name.size() - 4) +
                                                        "__rx__tvalid")) {
            const auto number = static_cast<uint32_t>(std::stoul(name.substr(4)));
            ports_.resize(std::max<size_t>(ports_.size(), number + 1));
            ports_[number] = std::make_unique<MacPort>(pins_, reporter_, number);
            made.port = ports_[number].get();
        }
    }
    add_memories(seed, index);
}

// Each in its own clock domain if it has one, else in the core's.
void Device::add_memories(uint64_t seed, uint32_t index) {
    for (uint32_t number = 0;; ++number) {
        const std::string name = "mem" + std::to_string(number);
        if (!pins_.has(name + "__awvalid") && !pins_.has(name + "__arvalid")) {
            return;
        }
        memories_.push_back(
            std::make_unique<AxiMemory>(pins_, reporter_, seed, index, number));
        const std::string own = name + "_clk", domain = pins_.has(own) ? own : "clk";
        for (const auto &clock : clocks_) {
            if (domain == pin_table[clock->index].name) {
                clock->memories.push_back(memories_.back().get());
            }
        }
    }
}

Clock &Device::clock(uint32_t pin) {
    for (const auto &clock : clocks_) {
        if (clock->index == pin) {
            return *clock;
        }
    }
    clocks_.push_back(std::make_unique<Clock>(Clock{.index = pin, .pin = pins_.at(pin)}));
    clocks_.back()->reset = pins_.find("");
    return *clocks_.back();
}

MacPort *Device::port(uint32_t index) {
    return index < ports_.size() ? ports_[index].get() : nullptr;
}

AxiMemory *Device::memory(uint32_t index) {
    return index < memories_.size() ? memories_[index].get() : nullptr;
}

void Device::run_clock(uint32_t pin, uint64_t period, uint64_t phase, uint64_t now) {
    Clock &changed = clock(pin);
    changed.period = period;
    changed.next = period == 0 ? never : now + phase;
    next_edge_ = never;
    for (const auto &clock : clocks_) {
        next_edge_ = std::min(next_edge_, clock->next);
    }
}

// Pins

void Device::evaluate() {
    model_->eval();
    stale_ = false;
}

void Device::peek(uint32_t pin, uint32_t *words) {
    if (stale_) {
        evaluate();
    }
    pins_.at(pin).read(words);
}

void Device::poke(uint32_t pin, const uint32_t *words) {
    pins_.at(pin).write(words);
    stale_ = true;
}

void Device::poke_later(uint32_t pin, const uint32_t *words) {
    later_.push_back({pin, {words, words + pins_.at(pin).words()}});
}

void Device::settle() {
    for (const Poke &poke : later_) {
        pins_.at(poke.pin).write(poke.words.data());
        stale_ = true;
    }
    later_.clear();
}

// Edges

bool Device::is_watched(uint64_t now) const {
    return std::any_of(clocks_.begin(), clocks_.end(), [&](const auto &clock) {
        return clock->next == now && clock->index < 64 && (watched >> clock->index & 1) != 0;
    });
}

void Device::sample(Clock &clock) {
    clock.in_reset = clock.reset.flag();
    if (clock.in_reset) {
        return;
    }
    if (clock.pcie != nullptr) {
        clock.pcie->sample(clock.cycles);
    }
    if (clock.port != nullptr) {
        clock.port->sample(clock.cycles, clock.period);
    }
    for (AxiMemory *memory : clock.memories) {
        memory->sample();
    }
}

void Device::drive(Clock &clock) {
    if (clock.pcie != nullptr) {
        clock.in_reset ? clock.pcie->reset() : clock.pcie->drive();
    }
    if (clock.port != nullptr) {
        clock.in_reset ? clock.port->reset() : clock.port->drive();
    }
    for (AxiMemory *memory : clock.memories) {
        clock.in_reset ? memory->reset() : memory->drive();
    }
}

// Two evaluations: with the clocks high and the inputs of before, so that every register sees what
// it should; and with the clocks low again and the new inputs.
void Device::edge(uint64_t now) {
    if (stale_) {
        evaluate();
    }
    uint64_t half = never;
    for (const auto &clock : clocks_) {
        clock->due = clock->next == now;
        if (clock->due) {
            sample(*clock);
            half = std::min(half, clock->period / 2);
            clock->pin.flag(true);
        }
    }
    evaluate();
    waves_.dump(now);
    next_edge_ = never;
    for (const auto &clock : clocks_) {
        if (clock->due) {
            drive(*clock);
            clock->pin.flag(false);
            clock->cycles += 1;
            clock->next += clock->period;
        }
        next_edge_ = std::min(next_edge_, clock->next);
    }
    settle();
    evaluate();
    waves_.dump(std::min(now + half, next_edge_ - 1));
}

}  // namespace tailrace
