// The table of variants: one row for each instruction set, callable by name.
#pragma once

#include <string>
#include <vector>

#include "sparse_conv/product.h"
#include "sparse_int8/product.h"
#include "sparse_linear/linear.h"

namespace wieldy {

struct Variant {
    const char* name;
    ProductKernel product;
    LinearKernel linear;
};

struct LevelVariant {
    const char* name;
    LevelKernel product;
};

// The variants that this CPU can run, the least demanding first.
const std::vector<Variant>& variants();

// Throws std::invalid_argument for a name that is unknown or that this CPU cannot run.
const Variant& find_variant(const std::string& name);

// The same for products of levels.
const std::vector<LevelVariant>& level_variants();

// The kernel of that name, or null for an empty one; throws as find_variant does.
LevelKernel level_kernel(const std::string& name);

}  // namespace wieldy
