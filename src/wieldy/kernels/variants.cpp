#include "variants.h"

#include <stdexcept>

namespace wieldy {
namespace {

#if defined(__x86_64__)
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

}  // namespace

const std::vector<Variant>& variants() {
    static const std::vector<Variant> found = [] {
        std::vector<Variant> all{{"portable", product_portable, linear_portable}};
#if defined(__x86_64__)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
            all.push_back({"avx2", product_avx2, linear_avx2});
        if (has_avx512()) all.push_back({"avx512", product_avx512, linear_avx2});
#endif
        return all;
    }();
    return found;
}

const std::vector<LevelVariant>& level_variants() {
    static const std::vector<LevelVariant> found = [] {
        std::vector<LevelVariant> all{{"portable", levels_portable}};
#if defined(__x86_64__)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx2")) all.push_back({"avx2", levels_avx2});
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("avxvnni"))
            all.push_back({"avx_vnni", levels_avx_vnni});
        if (has_avx512() && __builtin_cpu_supports("avx512vnni"))
            all.push_back({"avx512_vnni", levels_avx512_vnni});
#endif
        return all;
    }();
    return found;
}

namespace {

template <class Row>
const Row& find(const std::vector<Row>& rows, const std::string& name) {
    std::string known;
    for (const Row& row : rows) {
        if (name == row.name) return row;
        known += (known.empty() ? "" : ", ") + std::string(row.name);
    }
    throw std::invalid_argument("variant: must be one of " + known + " on this CPU; got '" + name + "'.");
}

}  // namespace

const Variant& find_variant(const std::string& name) { return find(variants(), name); }

LevelKernel level_kernel(const std::string& name) {
    return name.empty() ? nullptr : find(level_variants(), name).product;
}

}  // namespace wieldy
