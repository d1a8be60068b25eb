// What the functions have in common that XLA calls: its foreign function interface in C, whose headers come
// with jaxlib (the one in C++ takes longer to compile than everything here), threads, and memory to work in.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>

#include "shape.h"
#include "xla/ffi/api/c_api.h"

struct Array {
  float* data;
  const int64_t* sizes;
  int64_t count;  // of all numbers

  explicit Array(void* buffer) {
    const auto* b = static_cast<XLA_FFI_Buffer*>(buffer);
    data = static_cast<float*>(b->data);
    sizes = b->dims;
    count = 1;
    for (int64_t i = 0; i < b->rank; ++i) count *= sizes[i];
  }
};

// What kept a function from its result; null for nothing.
typedef const char* Trouble;
constexpr Trouble kNoMemory = "out of memory for a convolution";
constexpr Trouble kTooSmall = "a convolution was given less memory than it works in";

// Padding before, stride and dilation, each down and across.
using Window = const int64_t*;

inline Shape shape_of(const Array& images, const Array& kernel, const Array& result, Window w) {
  const int64_t *i = images.sizes, *k = kernel.sizes, *r = result.sizes;
  const Axis down{int(k[0]), int(w[0]), int(w[2]), int(w[4])};
  const Axis across{int(k[1]), int(w[1]), int(w[3]), int(w[5])};
  return {int(i[0]), int(i[3]), int(r[3]), down, across, int(i[1]), int(i[2]), int(r[1]), int(r[2])};
}

// XLA's threads.
class Pool {
 public:
  Pool(const XLA_FFI_Api* api, XLA_FFI_ExecutionContext* context) : api_(api), context_(context) {}

  int size() const {
    int64_t threads = 1;
    XLA_FFI_ThreadPool_NumThreads_Args args{XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE, nullptr, context_,
                                            &threads};
    return is_fine(api_->XLA_FFI_ThreadPool_NumThreads(&args)) ? int(threads) : 1;
  }

  // Runs work on one of the threads, at some time, or never.
  void schedule(std::function<void()> work) const {
    auto* held = new std::function<void()>(std::move(work));
    const auto task = [](void* data) {
      std::unique_ptr<std::function<void()>> work(static_cast<std::function<void()>*>(data));
      (*work)();
    };
    XLA_FFI_ThreadPool_Schedule_Args args{XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE, nullptr, context_,
                                          task, held};
    if (!is_fine(api_->XLA_FFI_ThreadPool_Schedule(&args))) delete held;
  }

 private:
  bool is_fine(XLA_FFI_Error* error) const {
    if (!error) return true;
    XLA_FFI_Error_Destroy_Args args{XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, nullptr, error};
    api_->XLA_FFI_Error_Destroy(&args);
    return false;
  }

  const XLA_FFI_Api* api_;
  XLA_FFI_ExecutionContext* context_;
};

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

// Runs work(0, memory) ... work(count - 1, memory) on XLA's threads and on this one, each with so many floats
// of its thread's memory. Waits only for what another thread has begun: a pool whose threads all wait here
// would never begin anything.
//
// Where there was too little memory for that, some of it was not done.
template <class Work>
Trouble parallel(const Pool& pool, int count, std::size_t floats, const Work& work) {
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
  const int helpers = std::min(pool.size(), count) - 1;
  for (int i = 0; i < helpers; ++i) pool.schedule(help);
  help();
  for (int spins = 0; spins < 20000 && shared->done.load() < count; ++spins) rest_a_moment();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->finished.wait(lock, [&] { return shared->done.load() == count; });
  return shared->enough ? nullptr : kNoMemory;
}

// Takes two arrays and the window, gives a result, and has a second one as memory to work in.
typedef Trouble Function(const Pool& pool, Array left, Array right, Window window, Array result,
                         Array memory);

inline XLA_FFI_Error* call(XLA_FFI_CallFrame* frame, Function* function) {
  if (frame->extension_start && frame->extension_start->type == XLA_FFI_Extension_Metadata) {
    auto* metadata = reinterpret_cast<XLA_FFI_Metadata_Extension*>(frame->extension_start)->metadata;
    metadata->api_version = {XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
    metadata->traits = 0;
    return nullptr;
  }
  if (frame->stage != XLA_FFI_ExecutionStage_EXECUTE) return nullptr;
  const auto* window = static_cast<XLA_FFI_Array*>(frame->attrs.attrs[0]);
  void **args = frame->args.args, **results = frame->rets.rets;
  const Trouble trouble = function(Pool(frame->api, frame->ctx), Array(args[0]), Array(args[1]),
                                   static_cast<Window>(window->data), Array(results[0]), Array(results[1]));
  if (!trouble) return nullptr;
  const auto code =
      trouble == kNoMemory ? XLA_FFI_Error_Code_RESOURCE_EXHAUSTED : XLA_FFI_Error_Code_INTERNAL;
  XLA_FFI_Error_Create_Args error{XLA_FFI_Error_Create_Args_STRUCT_SIZE, nullptr, trouble, code};
  return frame->api->XLA_FFI_Error_Create(&error);
}

#if defined(__clang__)
#define COMPILER "Clang " __clang_version__
#else
#define COMPILER "GCC " __VERSION__
#endif

// What Python finds a function by.
#define EXPORT(name, function) \
  extern "C" XLA_FFI_Error* name(XLA_FFI_CallFrame* frame) { return call(frame, function); }
