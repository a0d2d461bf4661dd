// The names of TBB that the executor uses, on threads that the sanitizer sees begin and end.
#pragma once

#include <thread>
#include <vector>

namespace tbb {

inline int& concurrency() {
    static int threads = 1;
    return threads;
}

template <class T>
class blocked_range {
public:
    blocked_range(T begin, T end) : begin_(begin), end_(end) {}
    T begin() const { return begin_; }
    T end() const { return end_; }

private:
    T begin_, end_;
};

struct simple_partitioner {};

template <class T, class Body>
void parallel_for(const blocked_range<T>& range, const Body& body, const simple_partitioner&) {
    std::vector<std::thread> threads;
    const T count = range.end() - range.begin(), tasks = concurrency();
    for (T k = 0; k < tasks; ++k)
        threads.emplace_back([&, k] {
            body(blocked_range<T>(range.begin() + count * k / tasks, range.begin() + count * (k + 1) / tasks));
        });
    for (auto& thread : threads) thread.join();
}

class task_group {
public:
    template <class Body>
    void run(const Body& body) {
        threads_.emplace_back(body);
    }
    void wait() {
        for (auto& thread : threads_) thread.join();
        threads_.clear();
    }

private:
    std::vector<std::thread> threads_;
};

class task_arena {
public:
    explicit task_arena(int threads) { concurrency() = threads; }
    template <class Body>
    void execute(const Body& body) {
        body();
    }
};

namespace this_task_arena {
inline int max_concurrency() { return concurrency(); }
}  // namespace this_task_arena

}  // namespace tbb
