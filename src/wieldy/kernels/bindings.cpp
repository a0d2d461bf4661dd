// The border to Python: typed, copy-free. The region runs here as it does inside OpenVINO.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "region/executor.h"
#include "variants.h"

namespace nb = nanobind;

namespace wieldy {
namespace {

using Floats = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using ConstFloats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Memory = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ConstMatrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ConstInts = nb::ndarray<const Int, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void check_counts(int threads, int repeats) {
    if (threads < 1) throw std::invalid_argument("threads: must be at least 1; got " + std::to_string(threads) + ".");
    if (repeats < 1) throw std::invalid_argument("repeats: must be at least 1; got " + std::to_string(repeats) + ".");
}

// Return the examples that every tensor holds.
std::size_t examples_of(const std::vector<ConstFloats>& inputs, const std::vector<Floats>& outputs) {
    std::vector<std::size_t> found;
    for (const auto& input : inputs) found.push_back(input.ndim() ? input.shape(0) : 0);
    for (const auto& output : outputs) found.push_back(output.ndim() ? output.shape(0) : 0);
    if (inputs.empty() || std::count(found.begin(), found.end(), found[0]) != static_cast<int>(found.size()))
        throw std::invalid_argument("inputs, outputs: all must hold as many examples, and there must be an input.");
    return found[0];
}

// Write to every line of `memory` from all threads of the arena: what lay in their caches does so no more.
void touch(const Memory& memory) {
    constexpr std::size_t line = 16;
    tbb::parallel_for(std::size_t{0}, memory.size() / line, [&](std::size_t k) { memory.data()[k * line] += 1; });
}

// Run a region `repeats` times on the same inputs and return the milliseconds of each step of each run. Where
// `evict` is given, each run finds its constants and its workspace in no cache.
std::vector<std::vector<double>> run(const ConstInts& steps, const ConstInts& indices, const ConstFloats& values,
                                     std::int64_t workspace_floats, const std::vector<ConstFloats>& inputs,
                                     const std::vector<Floats>& outputs, const std::string& variant,
                                     const std::string& level_variant, int threads, int repeats,
                                     const std::optional<Memory>& evict) {
    check_counts(threads, repeats);
    const std::size_t examples = examples_of(inputs, outputs);
    const RegionPlan plan{steps.data(), static_cast<Int>(steps.size()), indices.data(), values.data(),
                          static_cast<std::size_t>(workspace_floats), find_variant(variant).product,
                          level_kernel(level_variant)};
    const nb::gil_scoped_release released;
    const Workspace workspace(plan.workspace_floats);
    std::vector<std::vector<double>> times;
    tbb::task_arena(threads).execute([&] {
        for (std::size_t k = 0; k < repeats * examples; ++k) {
            const std::size_t example = k % examples;
            std::vector<const float*> from;
            std::vector<float*> to;
            for (const auto& input : inputs) from.push_back(input.data() + example * input.size() / examples);
            for (const auto& output : outputs) to.push_back(output.data() + example * output.size() / examples);
            if (evict) touch(*evict);
            Team team(threads);
            run_region(plan, team, workspace.data(), from.data(), to.data(), &times.emplace_back());
        }
    });
    return times;
}

// Compute a linear layer. Columns come as int32 also where two of them share one; see sparse_linear/plan.py.
void linear(const ConstMatrix& in, const ConstInts& starts, const ConstInts& columns, const ConstFloats& values,
            const ConstFloats& bias, const ConstInts& cuts, const Matrix& out, float low, float high, int block,
            bool wide, const std::string& variant, int threads) {
    check_counts(threads, 1);
    if (in.shape(0) != out.shape(0))
        throw std::invalid_argument("out: must hold as many examples as the input, " + std::to_string(in.shape(0)) +
                                    "; got " + std::to_string(out.shape(0)) + ".");
    const Linear task{in.data(),
                      starts.data(),
                      columns.data(),
                      values.data(),
                      bias.data(),
                      out.data(),
                      static_cast<std::int64_t>(in.shape(1)),
                      static_cast<std::int64_t>(out.shape(1)),
                      low,
                      high,
                      static_cast<int>(in.shape(0)),
                      block,
                      wide};
    const LinearKernel kernel = find_variant(variant).linear;
    const nb::gil_scoped_release released;
    tbb::task_arena(threads).execute(
        [&] { run_linear(task, kernel, cuts.data(), static_cast<int>(cuts.size()) - 1); });
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
    module.def("level_variants", [] {
        std::vector<std::string> names;
        for (const auto& variant : wieldy::level_variants()) names.emplace_back(variant.name);
        return names;
    });
    module.def("run_region", &wieldy::run, "steps"_a.noconvert(), "indices"_a.noconvert(), "values"_a.noconvert(),
               "workspace_floats"_a, "inputs"_a.noconvert(), "outputs"_a.noconvert(), "variant"_a,
               "level_variant"_a, "threads"_a, "repeats"_a = 1, "evict"_a.noconvert() = nb::none());
    module.def("evict", [](const wieldy::Memory& memory, int threads) {
        wieldy::check_counts(threads, 1);
        const nb::gil_scoped_release released;
        tbb::task_arena(threads).execute([&] { wieldy::touch(memory); });
    }, "memory"_a.noconvert(), "threads"_a);
    module.def("run_linear", &wieldy::linear, "input"_a.noconvert(), "starts"_a.noconvert(),
               "columns"_a.noconvert(), "values"_a.noconvert(), "bias"_a.noconvert(), "cuts"_a.noconvert(),
               "output"_a.noconvert(), "low"_a, "high"_a, "block"_a, "wide"_a, "variant"_a, "threads"_a);
}
