// What the PCIe pins of a device meet: the integrated block, and host memory behind it.

#pragma once

#include <cstdint>

#include "events.hpp"
#include "pcie_cc.hpp"
#include "pcie_cq.hpp"
#include "pcie_rc.hpp"
#include "pcie_requester.hpp"
#include "pcie_rq.hpp"
#include "pins.hpp"

namespace tailrace {

class Pcie {
public:
    Pcie(Pins &pins, Reporter &reporter, uint64_t seed, uint32_t device)
        : requester(pins, settings, reporter, seed, device), cq(pins),
          rq_(pins, reporter, seed, device), rc_(pins, settings, reporter, requester, seed, device),
          cc_(pins, reporter) {}

    // At an edge of the user clock, before it.
    void sample(uint64_t cycle) {
        requester.sample();
        rq_.sample([&](const Request &request) { requester.take(request, cycle); });
        rc_.sample();
        cq.sample();
        cc_.sample();
    }

    // Behind the edge.
    void drive() {
        requester.drive();
        rq_.drive(requester.full() ? 256 : settings.stall_rq);
        rc_.drive(settings.stall_rc);
        cq.drive();
        cc_.drive();
    }

    // Behind an edge in reset.
    void reset() {
        requester.reset();
        rq_.reset();
        rc_.reset();
        cq.reset();
        cc_.reset();
    }

private:
    static constexpr uint64_t never = ~uint64_t{0};

public:
    tr_pcie settings = {
        .rcb = 64,
        .max_payload = 256,
        .report_dropped = 1,
        .first_read = never,
        .last_read = never,
        .first_write = never,
        .last_write = never,
        .last_interrupt = never,
    };
    Requester requester;
    CqSource cq;

private:
    RqSink rq_;
    RcSource rc_;
    CcSink cc_;
};

}  // namespace tailrace
