#include "variants.h"

#include <stdexcept>

namespace wieldy {

const std::vector<Variant>& variants() {
    static const std::vector<Variant> found = [] {
        std::vector<Variant> all{{"portable", product_portable, linear_portable}};
#if defined(__x86_64__)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
            all.push_back({"avx2", product_avx2, linear_avx2});
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
            all.push_back({"avx512", product_avx512, linear_avx2});
#endif
        return all;
    }();
    return found;
}

const Variant& find_variant(const std::string& name) {
    std::string known;
    for (const Variant& variant : variants()) {
        if (name == variant.name) return variant;
        known += (known.empty() ? "" : ", ") + std::string(variant.name);
    }
    throw std::invalid_argument("variant: must be one of " + known + " on this CPU; got '" + name + "'.");
}

}  // namespace wieldy
