// Runs the steps of a region on a team of threads of the TBB arena it is called in.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "../sparse_conv/product.h"
#include "../sparse_int8/product.h"
#include "../sparse_linear/linear.h"
#include "steps.h"
#include "team.h"

namespace wieldy {

// Zeroed memory on huge pages where the system grants them: a plane is often larger than a page.
class Workspace {
public:
    explicit Workspace(std::size_t floats);
    float* data() const { return data_.get(); }

private:
    struct Free {
        void operator()(float* memory) const;
    };
    std::unique_ptr<float, Free> data_;
};

// One workspace for each call that is under way; they are kept for the calls to come.
class WorkspacePool {
public:
    std::unique_ptr<Workspace> take(std::size_t floats);
    void give_back(std::unique_ptr<Workspace> workspace);

private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Workspace>> idle_;
};

// The constants of a region, which it does not own.
struct RegionPlan {
    const Int* steps;
    Int steps_length;
    const Int* indices;
    const float* values;
    std::size_t workspace_floats;
    ProductKernel product;
    LevelKernel levels;  // null where no step needs it
};

// Compute one example. A tensor is (channels, height, width), contiguous. `step_ms`, if given, gets the
// milliseconds of each step.
void run_region(const RegionPlan& plan, Team& team, float* workspace, const float* const* inputs,
                float* const* outputs, std::vector<double>* step_ms = nullptr);

// Compute a linear layer; `cuts` are row blocks between which the work is about equal.
void run_linear(const Linear& task, LinearKernel kernel, const Int* cuts, int tasks);

}  // namespace wieldy
