#include "executor.h"

#include <sys/mman.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>

namespace wieldy {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr int kRowsToShare = 14;

struct Run {
    const RegionPlan& plan;
    float* workspace;
    const float* const* inputs;
    float* const* outputs;
};

template <class Body>
void parallel(int count, const Body& body) {
    tbb::parallel_for(tbb::blocked_range<int>(0, count), [&](const tbb::blocked_range<int>& range) {
        for (int i = range.begin(); i != range.end(); ++i) body(i);
    }, tbb::static_partitioner());
}

struct Part {  // of planes: channels and rows
    int channel_begin, channel_end, row_begin, row_end;
};

// Large planes are shared out by rows, as the tiles of a chain are, so that a core finds in its own cache what it
// wrote before; small ones by channels.
template <class Body>
void parallel_parts(const Planes& planes, const Body& body) {
    const bool by_rows = planes.height >= kRowsToShare;
    const int count = by_rows ? planes.height : planes.channels;
    const int tasks = std::min(count, tbb::this_task_arena::max_concurrency());
    parallel(tasks, [&](int task) {
        const auto cut = [&](int k) { return static_cast<int>(static_cast<std::int64_t>(count) * k / tasks); };
        if (by_rows)
            body(Part{0, planes.channels, cut(task), cut(task + 1)});
        else
            body(Part{cut(task), cut(task + 1), 0, planes.height});
    });
}

float* channel(const Run& run, const Planes& planes, std::int64_t index) {
    return run.workspace + planes.begin + index * planes.stride;
}

void clear_gap(float* row, const Planes& planes) {
    std::fill(row + planes.width, row + planes.pitch, 0.0f);
}

void load(const Run& run, const Load& step) {
    const Planes& to = step.to;
    parallel_parts(to, [&](const Part& part) {
        for (int c = part.channel_begin; c < part.channel_end; ++c)
            for (int y = part.row_begin; y < part.row_end; ++y) {
                float* row = channel(run, to, c) + y * to.pitch;
                const float* in = run.inputs[step.input] + (std::int64_t{c} * to.height + y) * to.width;
                std::memcpy(row, in, sizeof(float) * to.width);
                clear_gap(row, to);
            }
    });
}

void store(const Run& run, const Store& step) {
    const Planes& from = step.from;
    parallel_parts(from, [&](const Part& part) {
        for (int c = part.channel_begin; c < part.channel_end; ++c)
            for (int y = part.row_begin; y < part.row_end; ++y) {
                float* out = run.outputs[step.output] + (std::int64_t{c} * from.height + y) * from.width;
                std::memcpy(out, channel(run, from, c) + y * from.pitch, sizeof(float) * from.width);
            }
    });
}

void split(const Run& run, const Split& step) {
    const Planes &from = step.from, &to = step.to;
    parallel_parts(to, [&](const Part& part) {
        for (int plane = part.channel_begin; plane < part.channel_end; ++plane) {
            const Int* at = run.plan.indices + step.table + 2 * (plane % step.phases);
            const int rows = (from.height - at[0] + step.stride_y - 1) / step.stride_y;
            const int columns = (from.width - at[1] + step.stride_x - 1) / step.stride_x;
            for (int y = part.row_begin; y < part.row_end; ++y) {
                float* row = channel(run, to, plane) + y * to.pitch;
                const int found = y < rows ? columns : 0;
                const float* in =
                    channel(run, from, plane / step.phases) + (y * step.stride_y + at[0]) * from.pitch + at[1];
                if (step.stride_x == 2)
                    for (int x = 0; x < found; ++x) row[x] = in[2 * x];
                else
                    for (int x = 0; x < found; ++x) row[x] = in[x * step.stride_x];
                std::fill(row + found, row + to.pitch, 0.0f);
            }
        }
    });
}

float as_float(Int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

Product to_product(const Run& run, const ProductStep& step, int tile) {
    const Int* indices = run.plan.indices;
    return {
        run.workspace + step.from,
        indices + step.starts,
        indices + step.offsets,
        run.plan.values + step.values,
        run.plan.values + step.bias,
        step.residual < 0 ? nullptr : run.workspace + step.residual,
        step.mask < 0 ? nullptr : reinterpret_cast<const std::uint8_t*>(indices + step.mask),
        run.workspace + step.to.begin,
        step.to.stride,
        as_float(step.low),
        as_float(step.high),
        step.block,
        step.parts,
        step.row_blocks,
        step.own_inputs != 0,
        (step.to.height - 1) * step.to.pitch + step.to.width,
        tile,
    };
}

void chain(const Run& run, const Chain& step, const ProductStep* records) {
    std::vector<Product> products;
    for (int i = 0; i < step.products; ++i) products.push_back(to_product(run, records[i], step.tile));
    const std::int64_t tiles = (products[0].positions + step.tile - 1) / step.tile;
    parallel(step.row_tasks * step.tile_tasks, [&](int k) {
        const int row = k % step.row_tasks, task = k / step.row_tasks;
        const auto cut = [&](int t) { return static_cast<int>(tiles * t / step.tile_tasks); };
        for (int tile = cut(task); tile < cut(task + 1); ++tile)
            for (int i = 0; i < step.products; ++i) {
                const Int* cuts = run.plan.indices + records[i].cuts;
                run.plan.product(products[i], {tile, tile + 1, cuts[row], cuts[row + 1]});
            }
    });
}

// The pixels of a row of windows, one row of the kernel after the other.
void pool_row(const Pool& step, const float* plane, float* out, int y) {
    const Planes& from = step.from;
    const int top = y * step.stride_y - step.pad_y;
    for (int x = 0; x < step.to.width; ++x) {
        const int left = x * step.stride_x - step.pad_x;
        float best = -std::numeric_limits<float>::infinity(), sum = 0;
        int count = 0;
        for (int i = 0; i < step.kernel_y; ++i)
            for (int j = 0; j < step.kernel_x; ++j) {
                const int v = top + i * step.dilation_y, u = left + j * step.dilation_x;
                if (v < 0 || v >= from.height || u < 0 || u >= from.width) continue;
                const float value = plane[v * from.pitch + u];
                best = value > best || value != value ? value : best;
                sum += value;
                ++count;
            }
        out[x] = step.average ? sum / (step.counts_padding ? step.kernel_y * step.kernel_x : count) : best;
    }
}

// Two by two with stride two, the pooling of most networks.
void pool_pairs(const Pool& step, const float* plane, float* out, int y) {
    const float* upper = plane + 2 * y * step.from.pitch;
    const float* lower = upper + step.from.pitch;
    for (int x = 0; x < step.to.width; ++x) {
        float a = upper[2 * x], b = upper[2 * x + 1], c = lower[2 * x], d = lower[2 * x + 1];
        a = b > a || b != b ? b : a;
        c = d > c || d != d ? d : c;
        out[x] = c > a || c != c ? c : a;
    }
}

void pool(const Run& run, const Pool& step) {
    const bool pairs = !step.average && step.kernel_y == 2 && step.kernel_x == 2 && step.stride_y == 2 &&
                       step.stride_x == 2 && step.pad_y == 0 && step.pad_x == 0 && step.dilation_y == 1 &&
                       step.dilation_x == 1 && 2 * step.to.height <= step.from.height &&
                       2 * step.to.width <= step.from.width;
    parallel_parts(step.to, [&](const Part& part) {
        for (int c = part.channel_begin; c < part.channel_end; ++c)
            for (int y = part.row_begin; y < part.row_end; ++y) {
                float* out = channel(run, step.to, c) + y * step.to.pitch;
                (pairs ? pool_pairs : pool_row)(step, channel(run, step.from, c), out, y);
                clear_gap(out, step.to);
            }
    });
}

void mean(const Run& run, const Mean& step) {
    const Planes& from = step.from;
    parallel_parts(step.to, [&](const Part& part) {
        for (int c = part.channel_begin; c < part.channel_end; ++c) {
            double sum = 0;
            for (int y = 0; y < from.height; ++y) {
                const float* row = channel(run, from, c) + y * from.pitch;
                float of_row = 0;
                for (int x = 0; x < from.width; ++x) of_row += row[x];
                sum += of_row;
            }
            float* out = channel(run, step.to, c);
            out[0] = static_cast<float>(sum / (static_cast<double>(from.height) * from.width));
            clear_gap(out, step.to);
        }
    });
}

// Run the record at `at` and return its length.
template <class Step>
Int act(const Run& run, const Int* at, void (*body)(const Run&, const Step&)) {
    static_assert(sizeof(Step) % sizeof(Int) == 0);
    body(run, *reinterpret_cast<const Step*>(at));
    return sizeof(Step) / sizeof(Int);
}

}  // namespace

Workspace::Workspace(std::size_t floats) {
    const std::size_t bytes = (floats * sizeof(float) + kHugePage - 1) / kHugePage * kHugePage;
    void* memory = std::aligned_alloc(kHugePage, bytes);
    if (!memory) throw std::bad_alloc();
    data_.reset(static_cast<float*>(memory));
    madvise(memory, bytes, MADV_HUGEPAGE);  // advice: where it is not taken, only time is lost
    std::memset(memory, 0, bytes);
}

void Workspace::Free::operator()(float* memory) const { std::free(memory); }

std::unique_ptr<Workspace> WorkspacePool::take(std::size_t floats) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!idle_.empty()) {
            auto found = std::move(idle_.back());
            idle_.pop_back();
            return found;
        }
    }
    return std::make_unique<Workspace>(floats);
}

void WorkspacePool::give_back(std::unique_ptr<Workspace> workspace) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(workspace));
}

void run_linear(const Linear& task, LinearKernel kernel, const Int* cuts, int tasks) {
    parallel(tasks, [&](int k) { kernel(task, cuts[k], cuts[k + 1]); });
}

void run_region(const RegionPlan& plan, float* workspace, const float* const* inputs, float* const* outputs,
                std::vector<double>* step_ms) {
    using Clock = std::chrono::steady_clock;
    const Run run{plan, workspace, inputs, outputs};
    for (Int at = 0; at < plan.steps_length;) {
        const Int* step = plan.steps + at;
        const auto begin = step_ms ? Clock::now() : Clock::time_point();
        switch (*step) {
            case kLoad: at += act(run, step, load); break;
            case kStore: at += act(run, step, store); break;
            case kSplit: at += act(run, step, split); break;
            case kChain: {
                const Chain& header = *reinterpret_cast<const Chain*>(step);
                const auto* records = reinterpret_cast<const ProductStep*>(step + sizeof(Chain) / sizeof(Int));
                chain(run, header, records);
                at += (sizeof(Chain) + header.products * sizeof(ProductStep)) / sizeof(Int);
                break;
            }
            case kPool: at += act(run, step, pool); break;
            case kMean: at += act(run, step, mean); break;
            default: throw std::runtime_error("region: a step of an unknown kind");
        }
        if (step_ms) step_ms->push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    }
}

}  // namespace wieldy
