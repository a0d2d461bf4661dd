// Runs the regions of a file under the thread sanitizer: sanitize.py writes the file and builds this.
//
// TBB's own library is not instrumented, so the sanitizer cannot see how its tasks begin and end, and calls
// everything a race. This stands in for the few names of TBB that the executor uses: as many threads as the
// arena has, begun and joined for each loop.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "region/executor.h"
#include "variants.h"
#include "tbb/task_arena.h"

namespace {

template <class T>
std::vector<T> read(std::ifstream& file) {
    std::int64_t count = 0;
    file.read(reinterpret_cast<char*>(&count), sizeof count);
    std::vector<T> found(count);
    file.read(reinterpret_cast<char*>(found.data()), count * sizeof(T));
    return found;
}

void run(std::ifstream& file, const wieldy::Variant& variant, wieldy::LevelKernel levels) {
    const auto head = read<std::int64_t>(file);  // threads, floats of the workspace, inputs, floats of each output
    const auto steps = read<wieldy::Int>(file), indices = read<wieldy::Int>(file);
    const auto values = read<float>(file);
    std::vector<std::vector<float>> tensors;
    std::vector<const float*> inputs;
    std::vector<float*> outputs;
    for (std::int64_t i = 0; i < head[2]; ++i) tensors.push_back(read<float>(file));
    for (std::size_t i = 3; i < head.size(); ++i) tensors.emplace_back(head[i]);
    for (auto& tensor : tensors)
        if (inputs.size() < static_cast<std::size_t>(head[2]))
            inputs.push_back(tensor.data());
        else
            outputs.push_back(tensor.data());
    const wieldy::RegionPlan plan{steps.data(),  static_cast<wieldy::Int>(steps.size()), indices.data(),
                                  values.data(), static_cast<std::size_t>(head[1]),      variant.product,
                                  levels};
    const wieldy::Workspace workspace(plan.workspace_floats);
    tbb::task_arena(static_cast<int>(head[0])).execute([&] {
        wieldy::Team team(static_cast<int>(head[0]));
        for (int repeat = 0; repeat < 2; ++repeat)
            wieldy::run_region(plan, team, workspace.data(), inputs.data(), outputs.data());
    });
}

}  // namespace

int main(int, char** arguments) {  // a variant, a variant of levels, a file
    const wieldy::Variant& variant = wieldy::find_variant(arguments[1]);
    const wieldy::LevelKernel levels = wieldy::level_kernel(arguments[2]);
    std::ifstream file(arguments[3], std::ios::binary);
    int regions = 0;
    for (; file.peek() != EOF; ++regions) run(file, variant, levels);
    std::printf("%s %s: %d regions\n", variant.name, arguments[2], regions);
    return regions == 0;
}
