// What the variants share. In an unnamed namespace, so that each has it in its own instructions: one copy for all
// might be the one that only the newest CPU runs.
#pragma once

#include "product.h"

namespace wieldy {
namespace {

// Where the sums of channels begin: at the parts before, or at the residual, or (null) at zeros.
struct Begin {
    const float* from;
    std::int64_t stride;

    Begin(const Product& p, int part, int channel, int position)
        : from(part ? p.out : p.residual), stride(part ? p.stride : p.residual_stride) {
        if (from) from += channel * stride + position;
    }
    const float* of(int channel) const { return from ? from + channel * stride : nullptr; }
};

}  // namespace
}  // namespace wieldy
