// What the functions have in common that XLA calls.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>

#include "shape.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;
using Window = ffi::Span<const int64_t>;  // padding before, stride and dilation, each down and across

inline Shape shape_of(const Array& images, const Array& kernel, const Array& result, Window w) {
  auto i = images.dimensions(), k = kernel.dimensions(), r = result.dimensions();
  const Axis down{int(i[1]), int(r[1]), int(k[0]), int(w[0]), int(w[2]), int(w[4])};
  const Axis across{int(i[2]), int(r[2]), int(k[1]), int(w[1]), int(w[3]), int(w[5])};
  return {int(i[0]), int(i[3]), int(r[3]), down, across, int(i[1]), int(i[2]), int(r[1]), int(r[2])};
}

// A thread's own memory, kept for its next call; null where there is not so much.
inline float* scratch(std::size_t floats) {
  thread_local std::unique_ptr<float, void (*)(void*)> memory(nullptr, std::free);
  thread_local std::size_t size = 0;
  if (floats > size) {
    memory.reset();
    memory.reset(static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64)));
    size = memory ? floats : 0;
  }
  return memory.get();
}

inline void rest_a_moment() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Runs work(0, memory) ... work(count - 1, memory) on XLA's threads and on this one, each with so many floats of its
// thread's memory. Waits only for what another thread has begun: a pool whose threads all wait here would never
// begin anything.
//
// Returns whether there was memory enough; if not, some of it was not done.
template <class Work>
bool parallel(ffi::ThreadPool& pool, int count, std::size_t floats, const Work& work) {
  struct Shared {
    std::atomic<int> next{0}, done{0};
    std::atomic<bool> enough{true};
    std::mutex mutex;
    std::condition_variable finished;
  };
  auto shared = std::make_shared<Shared>();
  auto help = [shared, count, floats, &work] {
    int i = shared->next.fetch_add(1);
    if (i >= count) return;
    float* memory = floats ? scratch(floats) : nullptr;
    if (floats && !memory) shared->enough = false;
    for (; i < count; i = shared->next.fetch_add(1)) {
      if (shared->enough) work(i, memory);
      if (shared->done.fetch_add(1) + 1 == count) {
        std::lock_guard<std::mutex> lock(shared->mutex);
        shared->finished.notify_one();
      }
    }
  };
  const int helpers = std::min<int>(pool.num_threads(), count) - 1;
  for (int i = 0; i < helpers; ++i) pool.Schedule(std::function<void()>(help));
  help();
  for (int spins = 0; spins < 20000 && shared->done.load() < count; ++spins) rest_a_moment();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->finished.wait(lock, [&] { return shared->done.load() == count; });
  return shared->enough;
}

inline ffi::Error outcome(bool enough_memory) {
  if (enough_memory) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, "out of memory for a convolution");
}

#if defined(__clang__)
#define COMPILER "Clang " __clang_version__
#else
#define COMPILER "GCC " __VERSION__
#endif

// Two arrays and a window; the result, and memory to work in.
#define HANDLER(name, function)                                              \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function,                              \
                                ffi::Ffi::Bind()                             \
                                    .Ctx<ffi::ThreadPool>()                  \
                                    .Arg<Array>()                            \
                                    .Arg<Array>()                            \
                                    .Attr<Window>("window")                  \
                                    .Ret<Array>()                            \
                                    .Ret<Array>())

#if defined(__clang__)
#define COMPILER "Clang " __clang_version__
#else
#define COMPILER "GCC " __VERSION__
#endif

extern "C" const char* mnist_jax_compiler() { return COMPILER; }
