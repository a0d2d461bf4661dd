#include "executor.h"

#include <sys/mman.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>

#include "levels.h"
#include "parts.h"

namespace wieldy {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Visit one row of a plane and of a tensor, channel by channel, or pixel by pixel where the channels of the tensor
// lie next to each other: then as many as share a line of the cache. `copy` takes the pixel of the plane, that of
// the tensor, and how many pixels follow in both.
template <class Copy>
void each_row(const Planes& planes, const Part& part, bool channels_last, const Copy& copy) {
    constexpr int together = 16;
    const std::int64_t width = planes.width, channels = planes.channels;
    for (int y = part.row_begin; y < part.row_end; ++y) {
        const std::int64_t row = std::int64_t{y} * planes.pitch;
        if (!channels_last) {
            for (int c = part.channel_begin; c < part.channel_end; ++c)
                copy(c * std::int64_t{planes.stride} + row, (c * std::int64_t{planes.height} + y) * width, planes.width);
            continue;
        }
        for (int begin = part.channel_begin; begin < part.channel_end; begin += together)
            for (int x = 0, end = std::min(begin + together, part.channel_end); x < width; ++x)
                for (int c = begin; c < end; ++c)
                    copy(c * std::int64_t{planes.stride} + row + x, (y * width + x) * channels + c, 1);
    }
}

void load(const Run& run, const Load& step) {
    const float* __restrict in = run.inputs[step.input];
    float* __restrict out = run.workspace + step.to.begin;
    parallel_parts(run, step.to, [&](const Part& part) {
        each_row(step.to, part, step.channels_last, [&](std::int64_t plane, std::int64_t tensor, int count) {
            if (count == 1) out[plane] = in[tensor];
            else std::memcpy(out + plane, in + tensor, sizeof(float) * count);
        });
        for (int c = part.channel_begin; c < part.channel_end; ++c)
            for (int y = part.row_begin; y < part.row_end; ++y)
                clear_gap(channel(run, step.to, c) + y * step.to.pitch, step.to);
        clear_around(run, step.to, part);
    });
}

void store(const Run& run, const Store& step) {
    const float* __restrict in = run.workspace + step.from.begin;
    float* __restrict out = run.outputs[step.output];
    parallel_parts(run, step.from, [&](const Part& part) {
        each_row(step.from, part, step.channels_last, [&](std::int64_t plane, std::int64_t tensor, int count) {
            if (count == 1) out[tensor] = in[plane];
            else std::memcpy(out + tensor, in + plane, sizeof(float) * count);
        });
    });
}

struct Span {  // of the source of a split: channels, and positions
    int channel_begin, channel_end, begin, end;
};

// Copy the pixels of a span that belong to one phase; with the last pixel of a row, and of a plane, come the
// zeros that phases of odd sizes lack.
void split_phase(const Run& run, const Split& step, int phase, const float* source, const Span& span) {
    const Planes &from = step.from, &to = step.to;
    const float zero = as_float(to.fill);
    const Int* first = run.plan.indices + step.table + 2 * phase;
    const auto count = [](int size, int stride) { return (std::max(0, size) + stride - 1) / stride; };
    const auto each_channel = [&](const auto& body) {
        for (int c = span.channel_begin; c < span.channel_end; ++c)
            body(source + static_cast<std::int64_t>(c) * from.stride, channel(run, to, c * step.phases + phase));
    };
    for (int y = span.begin / from.pitch; y < from.height && y * from.pitch < span.end; ++y) {
        const int left = std::max(0, span.begin - y * from.pitch);
        const int right = std::min(from.width, span.end - y * from.pitch);
        if (y % step.stride_y != first[0] || left >= right) continue;
        const int begin = count(left - first[1], step.stride_x), end = count(right - first[1], step.stride_x);
        const int row_end = y / step.stride_y == to.height - 1 ? to.width : to.pitch;  // clear_around does the last
        const int rest = right == from.width ? row_end - end : 0;
        const int in = y * from.pitch + begin * step.stride_x + first[1];
        const int out = y / step.stride_y * to.pitch + begin;
        each_channel([&](const float* plane, float* split) {
            copy_every(step.stride_x, plane + in, split + out, end - begin);
            std::fill_n(split + out + end - begin, rest, zero);
        });
    }
    if (span.end < positions_of(from)) return;
    for (int y = count(from.height - first[0], step.stride_y); y < to.height; ++y)
        each_channel([&](const float*, float* split) { std::fill_n(split + y * to.pitch, to.pitch, zero); });
}

void split_span(const Run& run, const Split& step, const float* source, const Span& span) {
    for (int phase = 0; phase < step.phases; ++phase) split_phase(run, step, phase, source, span);
    if (span.end >= positions_of(step.from))
        clear_around(run, step.to, span.channel_begin * step.phases, span.channel_end * step.phases);
}

void split(const Run& run, const Split& step) {
    parallel_parts(run, step.from, [&](const Part& part) {
        const Span span{part.channel_begin, part.channel_end, part.row_begin * step.from.pitch,
                        part.row_end * step.from.pitch};
        split_span(run, step, run.workspace + step.from.begin, span);
    });
}

// A product whose local values lie in `scratch`, where position 0 would be.
Product to_product(const Run& run, const ProductStep& step, float* scratch) {
    const Int* indices = run.plan.indices;
    const auto place = [&](Int at, Local local) { return (step.local & local ? scratch : run.workspace) + at; };
    return {
        place(step.from, kLocalFrom),
        indices + step.starts,
        indices + step.offsets,
        run.plan.values + step.values,
        run.plan.values + step.bias,
        step.residual < 0 ? nullptr : place(step.residual, kLocalResidual),
        step.mask < 0 ? nullptr : reinterpret_cast<const std::uint8_t*>(indices + step.mask),
        place(step.to.begin, kLocalTo),
        step.to.stride,
        step.residual_stride,
        as_float(step.low),
        as_float(step.high),
        step.block,
        step.parts,
        step.row_blocks,
        step.own_inputs != 0,
    };
}

// How long the record of a member of a chain is.
Int length_of(Int kind) {
    const std::size_t bytes = kind == kSplit     ? sizeof(Split)
                              : kind == kProduct ? sizeof(ProductStep)
                                                 : sizeof(LevelProductStep);
    return static_cast<Int>(bytes / sizeof(Int));
}

// Take one tile through a member of a chain and return the length of its record.
Int act_on_tile(const Run& run, const Int* at, const Tile& tile) {
    if (*at == kSplit) {
        const Split& member = *reinterpret_cast<const Split*>(at);
        const float* source = (member.local ? tile.scratch : run.workspace) + member.from.begin;
        split_span(run, member, source, {0, member.from.channels, tile.begin, tile.end});
        return length_of(kSplit);
    }
    if (*at == kLevelProduct) return act_on_levels(run, *reinterpret_cast<const LevelProductStep*>(at), tile);
    const ProductStep& member = *reinterpret_cast<const ProductStep*>(at);
    const Int* cuts = run.plan.indices + member.cuts + tile.row;
    run.plan.product(to_product(run, member, tile.scratch), {tile.begin, tile.end, cuts[0], cuts[1]});
    if (tile.end >= positions_of(member.to)) {
        const auto channels = [&](int block) { return std::min(block * member.block, member.to.channels); };
        clear_around(run, member.to, channels(cuts[0]), channels(cuts[1]));
    }
    return length_of(kProduct);
}

// Run a chain whose members begin at `members`, and return the length of their records.
Int chain(const Run& run, const Chain& step, const Int* members) {
    Int length = 0;
    for (int i = 0; i < step.members; ++i)
        length += length_of(members[length]);
    static_assert(offsetof(ProductStep, to) == offsetof(LevelProductStep, to));
    const Planes& first = reinterpret_cast<const ProductStep*>(members)->to;
    const int vectors = (positions_of(first) + kRoom - 1) / kRoom;
    const auto cut = [](int begin, int end, int k, int pieces) {
        return begin + static_cast<int>(static_cast<std::int64_t>(end - begin) * k / pieces);
    };
    run.team.run(step.row_tasks * step.tile_tasks, [&](int k) {
        const int row = k % step.row_tasks, task = k / step.row_tasks;
        const int begin = cut(0, vectors, task, step.tile_tasks), end = cut(0, vectors, task + 1, step.tile_tasks);
        const int tiles = ((end - begin) * kRoom + step.tile - 1) / step.tile;
        float* scratch = run.workspace + step.scratch + static_cast<std::int64_t>(task) * step.scratch_floats;
        for (int i = 0; i < tiles; ++i) {
            const int from = cut(begin, end, i, tiles) * kRoom, to = cut(begin, end, i + 1, tiles) * kRoom;
            const Tile tile{from, to, row, scratch - from};
            const Int* at = members;
            for (int member = 0; member < step.members; ++member) at += act_on_tile(run, at, tile);
        }
    });
    return length;
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
    parallel_parts(run, step.to, [&](const Part& part) {
        for (int c = part.channel_begin; c < part.channel_end; ++c)
            for (int y = part.row_begin; y < part.row_end; ++y) {
                float* out = channel(run, step.to, c) + y * step.to.pitch;
                (pairs ? pool_pairs : pool_row)(step, channel(run, step.from, c), out, y);
                clear_gap(out, step.to);
            }
        clear_around(run, step.to, part);
    });
}

void mean(const Run& run, const Mean& step) {
    const Planes& from = step.from;
    parallel_parts(run, step.to, [&](const Part& part) {
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
        clear_around(run, step.to, part);
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
    // Not with the static partitioner: it posts a letter for every task it means for another thread, and where that
    // thread is kept from the cores by other processes, the letters pile up (a gigabyte in two minutes).
    tbb::parallel_for(tbb::blocked_range<int>(0, tasks), [&](const tbb::blocked_range<int>& range) {
        for (int k = range.begin(); k != range.end(); ++k) kernel(task, cuts[k], cuts[k + 1]);
    }, tbb::simple_partitioner());
}

void run_region(const RegionPlan& plan, Team& team, float* workspace, const float* const* inputs,
                float* const* outputs, std::vector<double>* step_ms) {
    using Clock = std::chrono::steady_clock;
    const Run run{plan, team, workspace, inputs, outputs};
    for (Int at = 0; at < plan.steps_length;) {
        const Int* step = plan.steps + at;
        const auto begin = step_ms ? Clock::now() : Clock::time_point();
        switch (*step) {
            case kLoad: at += act(run, step, load); break;
            case kStore: at += act(run, step, store); break;
            case kSplit: at += act(run, step, split); break;
            case kChain: {
                constexpr Int header = sizeof(Chain) / sizeof(Int);
                at += header + chain(run, *reinterpret_cast<const Chain*>(step), step + header);
                break;
            }
            case kPool: at += act(run, step, pool); break;
            case kMean: at += act(run, step, mean); break;
            case kQuantize: at += act(run, step, quantize); break;
            case kDequantize: at += act(run, step, dequantize); break;
            case kLevelPool: at += act(run, step, level_pool); break;
            case kLevelMean: at += act(run, step, level_mean); break;
            default: throw std::runtime_error("region: a step of an unknown kind");
        }
        if (step_ms) step_ms->push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    }
}

}  // namespace wieldy
