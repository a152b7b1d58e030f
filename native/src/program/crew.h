// The crew: threads that work through the phases of a step together.
//
// A phase is cut into chunks, which threads claim; a phase is over when its chunks are done. Chunks are claimed from one
// heap, or, where a phase goes through memory in order, each thread has a share of its own, the same in every such
// phase, and with that done it helps the others. A thread that the operating system does not run holds
// nothing up unless it has claimed a chunk, so a busy neighbour on the same cores slows a step down and does not stop it.
// Waiting is a short spin, then yields, and between steps a sleep.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace windowtax {

// Memory of one thread for what it computes on the way; grows, and is aligned to cache lines.
class Scratch {
 public:
  void* get(int64_t bytes);
  // What the last `get` gave.
  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  ~Scratch();

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

struct Worker {
  int index = 0;
  Scratch ready;    // activations prepared for products
  Scratch kernel;   // what kernels ask for
  Scratch tile;     // results on their way to a buffer
  Scratch places;   // where rows of results go
  Scratch chosen;   // blocks that this thread chose to read
  const void* ready_owner = nullptr;  // the operation whose activations `ready` holds in this step
  const void* chosen_for = nullptr;   // the query that `chosen` is of, in this step
};

// Memory that will be read: `count` bytes in each of two places.
struct Bytes {
  const uint8_t* from = nullptr;
  int64_t count = 0;
  int64_t apart = 0;  // from the first place to the second
};

class Work {
 public:
  virtual ~Work() = default;
  virtual int64_t num_phases() const = 0;
  virtual int64_t num_chunks(int64_t phase) const = 0;
  virtual bool in_shares(int64_t phase) const = 0;
  virtual void run(int64_t phase, int64_t chunk, Worker& worker) = 0;
  // What a chunk reads first and no phase writes: a thread with nothing left to do in the phase before fetches it.
  virtual Bytes first_read(int64_t phase, int64_t chunk) const = 0;
};

class Crew {
 public:
  explicit Crew(int num_threads);
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  int num_threads() const { return num_threads_; }
  // Runs all phases of the work, in order; returns when the last is done. Called by one thread at a time.
  void run(Work& work);

 private:
  // How far threads are. Counters of a kind lie side by side, phase after phase: no two threads count in the same cache
  // line but where one helps another, or both wait for the same phase.
  class Counters {
   public:
    // `count` zeros.
    void fit(int64_t count);
    std::atomic<int32_t>& operator[](int64_t index) { return data_[index]; }

   private:
    struct alignas(64) Line {
      std::atomic<int32_t> counters[16];
    };
    std::unique_ptr<Line[]> lines_;
    std::atomic<int32_t>* data_ = nullptr;
    int64_t capacity_ = 0;
  };

  struct Phase {
    int64_t number;  // which of the work's phases it is
    int32_t chunks, shares;
    int64_t begin(int share) const { return int64_t{chunks} * share / shares; }
  };

  // The phases of one run. There are two boards, used in turn: a helper that the operating system stopped in the middle
  // of a run may still look at its board while the next run goes on with the other one.
  struct Board {
    std::vector<Phase> phases;      // those that have chunks
    std::vector<Bytes> first_reads;  // by phase, then by thread
    std::vector<Counters> claimed;   // by share, then by phase
    Counters done;                   // by phase
    Work* work = nullptr;
    std::atomic<bool> open{false};
    std::atomic<int> inside{0};  // threads that look at it now
  };

  void start();
  void loop(int index);
  void prepare(Board& board, Work& work);
  void work_through(Board& board, int index);
  int32_t work_on(Board& board, int64_t phase, int share, Worker& worker);
  void add_first_reads(Board& board, const Phase& phase);

  const int num_threads_;
  std::vector<std::thread> threads_;
  std::vector<Worker> workers_;
  Board boards_[2];
  std::atomic<uint64_t> runs_{0};  // begun so far; run n uses board n % 2
  std::atomic<bool> stop_{false};
  int owner_process_ = 0;
};

}  // namespace windowtax
