// The border to Python: typed, copy-free. The region runs here as it does inside OpenVINO.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <tbb/task_arena.h>

#include <stdexcept>

#include "region/executor.h"
#include "variants.h"

namespace nb = nanobind;

namespace wieldy {
namespace {

using Floats = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using ConstFloats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using ConstInts = nb::ndarray<const Int, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Run a region `repeats` times on the same inputs and return the milliseconds of each step of each run.
std::vector<std::vector<double>> run(const ConstInts& steps, const ConstInts& indices, const ConstFloats& values,
                                     std::int64_t workspace_floats, const std::vector<ConstFloats>& inputs,
                                     const std::vector<Floats>& outputs, const std::string& variant, int threads,
                                     int repeats) {
    const RegionPlan plan{steps.data(), static_cast<Int>(steps.size()), indices.data(), values.data(),
                          static_cast<std::size_t>(workspace_floats), find_variant(variant).product};
    const nb::gil_scoped_release released;
    const Workspace workspace(plan.workspace_floats);
    const std::size_t examples = inputs.at(0).shape(0);
    std::vector<std::vector<double>> times;
    tbb::task_arena(threads).execute([&] {
        for (std::size_t k = 0; k < repeats * examples; ++k) {
            const std::size_t example = k % examples;
            std::vector<const float*> from;
            std::vector<float*> to;
            for (const auto& input : inputs) from.push_back(input.data() + example * input.size() / examples);
            for (const auto& output : outputs) to.push_back(output.data() + example * output.size() / examples);
            run_region(plan, workspace.data(), from.data(), to.data(), &times.emplace_back());
        }
    });
    return times;
}

}  // namespace
}  // namespace wieldy

NB_MODULE(_native, module) {
    using namespace nb::literals;
    module.def("variants", [] {
        std::vector<std::string> names;
        for (const auto& variant : wieldy::variants()) names.emplace_back(variant.name);
        return names;
    });
    module.def("run_region", &wieldy::run, "steps"_a.noconvert(), "indices"_a.noconvert(), "values"_a.noconvert(),
               "workspace_floats"_a, "inputs"_a, "outputs"_a, "variant"_a, "threads"_a, "repeats"_a = 1);
}
