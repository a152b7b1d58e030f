#include "program/crew.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "program/pages.h"

namespace windowtax {

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kSpin = std::chrono::microseconds(50);       // longer than any phase's tail on an idle machine
constexpr auto kIdleSpin = std::chrono::microseconds(700);  // the sampler and the scheduler need some 200
constexpr int kPauses = 16;                                 // between two looks at the clock

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// Into the L2 cache.
void fetch(const Bytes& bytes) {
  for (int64_t line = 0; line < bytes.count; line += 64) {
    __builtin_prefetch(bytes.from + line, 0, 2);
    __builtin_prefetch(bytes.from + bytes.apart + line, 0, 2);
  }
}

// Looks for as long as that at most, by the clock: how long a pause takes differs tenfold between processors.
template <typename Condition>
bool spin_until(const Condition& condition, Clock::duration most) {
  for (int i = 0; i < kPauses; ++i, pause()) {
    if (condition()) return true;
  }
  const auto end = Clock::now() + most;
  do {
    for (int i = 0; i < kPauses; ++i, pause()) {
      if (condition()) return true;
    }
  } while (Clock::now() < end);
  return false;
}

template <typename Condition>
void wait_until(const Condition& condition) {
  if (spin_until(condition, kSpin)) return;
  while (!condition()) std::this_thread::yield();
}

}  // namespace

void* Scratch::get(int64_t bytes) {
  if (bytes > bytes_) {
    std::free(data_);
    bytes_ = bytes;
    data_ = allocate_pages(bytes);
  }
  return data_;
}

Scratch::~Scratch() { std::free(data_); }

void Crew::Counters::fit(int64_t count) {
  if (count > capacity_) {
    lines_ = std::make_unique<Line[]>((count + 15) / 16);
    data_ = lines_[0].counters;
    capacity_ = count;
  }
  for (int64_t i = 0; i < count; ++i) lines_[i / 16].counters[i % 16].store(0, std::memory_order_relaxed);
}

Crew::Crew(int num_threads) : num_threads_(num_threads < 1 ? 1 : num_threads), workers_(num_threads_) {
  for (int index = 0; index < num_threads_; ++index) workers_[index].index = index;
}

Crew::~Crew() {
  stop_.store(true);
  runs_.fetch_add(1);
  runs_.notify_all();
  const bool here = owner_process_ == getpid();
  for (std::thread& thread : threads_) here ? thread.join() : thread.detach();
}

void Crew::start() {
  // After a fork the child has none of the threads: let go of them and start anew.
  if (owner_process_ == getpid()) return;
  for (std::thread& thread : threads_) thread.detach();
  threads_.clear();
  for (Board& board : boards_) board.inside.store(0);
  owner_process_ = getpid();
  for (int index = 1; index < num_threads_; ++index) threads_.emplace_back([this, index] { loop(index); });
}

void Crew::run(Work& work) {
  start();
  Board& board = boards_[(runs_.load() + 1) % 2];
  prepare(board, work);
  runs_.fetch_add(1);
  runs_.notify_all();
  work_through(board, 0);
  board.open.store(false);
}

void Crew::prepare(Board& board, Work& work) {
  wait_until([&board] { return board.inside.load() == 0; });
  board.phases.clear();
  board.first_reads.clear();
  board.work = &work;
  for (int64_t phase = 0; phase < work.num_phases(); ++phase) {
    const int64_t chunks = work.num_chunks(phase);
    if (chunks == 0) continue;
    board.phases.push_back({phase, static_cast<int32_t>(chunks), work.in_shares(phase) ? num_threads_ : 1});
    add_first_reads(board, board.phases.back());
  }
  const int64_t count = static_cast<int64_t>(board.phases.size());
  board.done.fit(count);
  board.claimed.resize(num_threads_);
  for (Counters& claimed : board.claimed) claimed.fit(count);
  board.open.store(true);
}

// Now, because a thread may still be about to read them when the run is over.
void Crew::add_first_reads(Board& board, const Phase& phase) {
  for (int index = 0; index < num_threads_; ++index) {
    const bool owns = phase.shares == num_threads_ && phase.begin(index) < phase.begin(index + 1);
    board.first_reads.push_back(owns ? board.work->first_read(phase.number, phase.begin(index)) : Bytes{});
  }
}

void Crew::loop(int index) {
  uint64_t seen = 0;
  while (true) {
    spin_until([&] { return runs_.load(std::memory_order_relaxed) != seen; }, kIdleSpin);
    runs_.wait(seen);
    seen = runs_.load();
    if (stop_.load()) return;
    Board& board = boards_[seen % 2];
    // First say "inside", then look whether it is open: `prepare` closes before it waits for nobody inside.
    board.inside.fetch_add(1);
    if (board.open.load()) work_through(board, index);
    board.inside.fetch_sub(1);
  }
}

// Returns how many chunks it did.
int32_t Crew::work_on(Board& board, int64_t phase, int share, Worker& worker) {
  const Phase& now = board.phases[phase];
  std::atomic<int32_t>& claimed = board.claimed[share][phase];
  const int64_t begin = now.begin(share), count = now.begin(share + 1) - begin;
  int32_t done = 0;
  // Looking first leaves the counter in its owner's cache where there is nothing to help with.
  while (claimed.load(std::memory_order_relaxed) < count) {
    const int64_t mine = claimed.fetch_add(1, std::memory_order_relaxed);
    if (mine >= count) break;
    board.work->run(now.number, begin + mine, worker);
    ++done;
  }
  return done;
}

void Crew::work_through(Board& board, int index) {
  Worker& worker = workers_[index];
  worker.ready_owner = worker.chosen_for = nullptr;
  const int64_t count = static_cast<int64_t>(board.phases.size());
  for (int64_t phase = 0; phase < count; ++phase) {
    const Phase& now = board.phases[phase];
    std::atomic<int32_t>& all_done = board.done[phase];
    for (int i = 0; i < now.shares; ++i) {
      const int32_t done = work_on(board, phase, (index + i) % now.shares, worker);
      if (done > 0) all_done.fetch_add(done, std::memory_order_release);
    }
    if (phase + 1 < count) fetch(board.first_reads[(phase + 1) * num_threads_ + index]);
    wait_until([&] { return all_done.load(std::memory_order_acquire) >= now.chunks; });
  }
}

}  // namespace windowtax
