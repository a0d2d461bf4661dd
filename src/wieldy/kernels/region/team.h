// The threads that run a region together.
//
// To hand a step of a few microseconds to the scheduler, and to get it back, takes about as long as the step. So
// helpers are asked for once a region and watch for one step after the other. Nobody waits for a helper that has
// not come: whoever is there takes the tasks that are left.
#pragma once

#include <tbb/task_group.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace wieldy {

class Team {
public:
    explicit Team(int threads) : threads_(threads), taken_(threads > 1 ? threads * kTasksPerThread : 0) {
        for (int member = 1; member < threads; ++member) helpers_.run([this, member] { help(member); });
    }

    ~Team() {
        over_.store(true, std::memory_order_release);
        helpers_.wait();
    }

    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int threads() const { return threads_; }

    // Do `body(0)` to `body(count - 1)`, each once, and return when all are done. Only who made the team may call it.
    template <class Body>
    void run(int count, const Body& body) {
        const int tasks = std::min<int>(count, static_cast<int>(taken_.size()));
        if (tasks <= 1) {
            for (int k = 0; k < count; ++k) body(k);
            return;
        }
        const auto task = [&](int first) {
            for (int k = first; k < count; k += tasks) body(k);
        };
        task_ = &task;
        call_ = [](const void* of, int first) { (*static_cast<const decltype(task)*>(of))(first); };
        left_.store(tasks, std::memory_order_relaxed);
        open_.store(++round_ << 32 | static_cast<std::uint32_t>(tasks), std::memory_order_release);
        work(round_, tasks, 0);
        for (int spins = 0; left_.load(std::memory_order_acquire) != 0;) rest(spins);
    }

private:
    static constexpr int kTasksPerThread = 4, kSpins = 1 << 14, kLine = 64;

    // Take what nobody has taken in a round. A round that is over has no such task, so who comes late does nothing.
    void work(std::uint64_t round, int tasks, int member) {
        const int begin = static_cast<int>(std::int64_t{tasks} * member / threads_);  // the same ones each round
        for (int i = 0; i < tasks; ++i) {
            const int k = begin + i < tasks ? begin + i : begin + i - tasks;
            std::uint64_t last = taken_[k].load(std::memory_order_relaxed);
            if (last >= round || !taken_[k].compare_exchange_strong(last, round, std::memory_order_relaxed)) continue;
            call_(task_, k);
            left_.fetch_sub(1, std::memory_order_acq_rel);
        }
    }

    void help(int member) {
        std::uint64_t seen = 0;
        for (int spins = 0; !over_.load(std::memory_order_acquire);) {
            const std::uint64_t open = open_.load(std::memory_order_acquire);
            if (open == seen) {
                rest(spins);
                continue;
            }
            work(open >> 32, static_cast<int>(open & 0xffffffffu), member);
            seen = open;
            spins = 0;
        }
    }

    static void rest(int& spins) {
        if (++spins >= kSpins) {
            std::this_thread::yield();  // others need the core
            return;
        }
#if defined(__SSE2__)
        _mm_pause();
#endif
    }

    const int threads_;
    std::uint64_t round_ = 0;
    const void* task_ = nullptr;
    void (*call_)(const void*, int) = nullptr;
    std::vector<std::atomic<std::uint64_t>> taken_;  // for each task, the last round in which it was taken
    alignas(kLine) std::atomic<std::uint64_t> open_{0};  // a round, and how many tasks it has
    alignas(kLine) std::atomic<int> left_{0};            // tasks of the round that are not done
    alignas(kLine) std::atomic<bool> over_{false};
    tbb::task_group helpers_;
};

}  // namespace wieldy
