#include "pcie_cc.hpp"

#include <cstring>

namespace tailrace {

CcSink::CcSink(Pins &pins, Reporter &reporter)
    : valid_(pins.find("pcie__cc__tvalid")), ready_(pins.find("pcie__cc__tready")),
      last_(pins.find("pcie__cc__tlast")), data_(pins.find("pcie__cc__tdata")),
      keep_(pins.find("pcie__cc__tkeep")), user_(pins.find("pcie__cc__tuser")),
      reporter_(reporter), wide_(data_.bits() == 512) {}

void CcSink::reset() {
    ready_.flag(false);
    discontinue_ = false;
    count_ = 0;
}

void CcSink::take() {
    uint32_t keep = 0;
    keep_.read(&keep);
    const bool last = last_.flag();
    const uint32_t lanes = data_.bits() / 32;
    const auto count = static_cast<uint32_t>(std::bit_width(keep));
    if (keep == 0 || (keep & (keep + 1)) != 0 || (!last && count != lanes)) {
        reporter_.broken("cc: tkeep has holes, is 0, or is not full before the last beat");
        return;
    }
    if (count_ + count > dwords_.size()) {
        reporter_.broken("cc: a completion with more than 4096 bytes");
        count_ = 0;
        return;
    }
    std::memcpy(dwords_.data() + count_, data_.bytes(), 4 * count);
    count_ += count;
    discontinue_ |= bits_of(user_.bytes(), wide_ ? 16 : 0, 1) != 0;
    if (last) {
        reporter_.report(TR_COMPLETION, discontinue_, 0, 0, 0, {dwords_.data(), 4 * count_});
        count_ = 0;
        discontinue_ = false;
    }
}

}  // namespace tailrace
