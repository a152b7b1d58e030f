#include "program/crew.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "program/pages.h"

namespace windowtax {

namespace {

constexpr int kSpins = 4000;       // some 50 us: longer than any phase's tail on an idle machine
constexpr int kIdleSpins = 20000;  // between steps: the sampler needs some 200 us

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

template <typename Condition>
void wait_until(const Condition& condition) {
  for (int spin = 0; !condition(); ++spin) {
    if (spin < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
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
  const int64_t count = work.num_phases();
  if (count > board.capacity) {
    board.phases = std::make_unique<Phase[]>(count);
    board.capacity = count;
  }
  for (int64_t phase = 0; phase < count; ++phase) {
    Phase& now = board.phases[phase];
    for (std::atomic<int32_t>& claimed : now.claimed) claimed.store(0, std::memory_order_relaxed);
    now.done.store(0, std::memory_order_relaxed);
    now.chunks = static_cast<int32_t>(work.num_chunks(phase));
    now.shares = work.in_shares(phase) ? std::min(num_threads_, kMostShares) : 1;
  }
  board.num_phases = count;
  board.work = &work;
  board.open.store(true);
}

void Crew::loop(int index) {
  uint64_t seen = 0;
  while (true) {
    for (int spin = 0; spin < kIdleSpins && runs_.load() == seen; ++spin) pause();
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

void Crew::work_on(Board& board, int64_t phase, int share, Worker& worker) {
  Phase& now = board.phases[phase];
  const int64_t begin = int64_t{now.chunks} * share / now.shares, end = int64_t{now.chunks} * (share + 1) / now.shares;
  int64_t mine = 0;
  while ((mine = begin + now.claimed[share].fetch_add(1, std::memory_order_relaxed)) < end) {
    board.work->run(phase, mine, worker);
    now.done.fetch_add(1, std::memory_order_release);
  }
}

void Crew::work_through(Board& board, int index) {
  Worker& worker = workers_[index];
  worker.ready_owner = nullptr;
  for (int64_t phase = 0; phase < board.num_phases; ++phase) {
    Phase& now = board.phases[phase];
    const int32_t chunks = now.chunks;
    if (chunks == 0) continue;
    for (int i = 0; i < now.shares; ++i) work_on(board, phase, (index + i) % now.shares, worker);
    wait_until([&now, chunks] { return now.done.load(std::memory_order_acquire) >= chunks; });
  }
}

}  // namespace windowtax
