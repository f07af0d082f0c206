// As much of CUDA as kernels/attend.cu uses, on the host: every thread of a block is a fiber, blocks run one after
// the other, and barriers and shuffles switch fibers. So the kernel's arithmetic, indices and synchronisation can
// be run where there is no GPU. It proves nothing about a GPU's memory, speed or compiler.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  void* attrs = nullptr;
  unsigned numAttrs = 0;
};

inline dim3 threadIdx, blockIdx, gridDim, blockDim;

namespace {
long long shared[12288];  // the kernel's dynamic shared memory, 96 KiB
}

namespace host {

constexpr int LANES = 32;
constexpr size_t STACK = 64 * 1024;

struct Barrier {
  int size = 0, arrived = 0;
  long passed = 0;
};

struct Fiber {
  ucontext_t context{};
  std::vector<char> stack = std::vector<char>(STACK);
  bool done = false;
  int counts = 0, shuffles = 0;  // how many of each it has been through
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline int current;
inline Barrier block;
inline std::vector<Barrier> warps;
inline std::vector<float> exchanged[2];
inline std::vector<int> counted[2];
inline std::function<void()> body;

inline void wait(Barrier& barrier) {
  const long before = barrier.passed;
  if (++barrier.arrived == barrier.size) {
    barrier.arrived = 0;
    ++barrier.passed;
    return;
  }
  while (barrier.passed == before) swapcontext(&fibers[current].context, &scheduler);
}

inline void enter() {
  body();
  fibers[current].done = true;
}

inline void run_block(int threads) {
  fibers = std::vector<Fiber>(threads);
  block = {threads};
  warps.assign(threads / LANES, {LANES});
  for (auto& values : exchanged) values.assign(threads, 0.0f);
  for (auto& values : counted) values.assign(threads, 0);
  std::memset(shared, 0xff, sizeof shared);  // NaN: what is read before it is written shows
  for (auto& fiber : fibers) {
    getcontext(&fiber.context);
    fiber.context.uc_stack = {fiber.stack.data(), 0, fiber.stack.size()};
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, enter, 0);
  }
  for (int left = threads, idle = 0; left > 0;) {
    left = 0;
    for (current = 0; current < threads; ++current) {
      if (fibers[current].done) continue;
      ++left;
      threadIdx = dim3(current);
      swapcontext(&scheduler, &fibers[current].context);
    }
    // Nobody passes through so many rounds but threads that wait for one another in vain.
    if (++idle > 10'000'000) std::abort();
  }
}

}  // namespace host

inline void __syncthreads() { host::wait(host::block); }

inline int __syncthreads_count(int predicate) {
  const int turn = host::fibers[host::current].counts++ % 2;
  host::counted[turn][host::current] = predicate != 0;
  host::wait(host::block);
  // Nobody writes here again before everybody has passed the barrier of the other turn.
  return static_cast<int>(std::count(host::counted[turn].begin(), host::counted[turn].end(), 1));
}

inline float __shfl_xor_sync(unsigned, float value, int mask) {
  const int turn = host::fibers[host::current].shuffles++ % 2;
  host::exchanged[turn][host::current] = value;
  host::wait(host::warps[host::current / host::LANES]);
  return host::exchanged[turn][host::current ^ mask];
}

inline int __float_as_int(float value) {
  int bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

using std::min;

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t code) { return code == cudaSuccess ? "no error" : "refused"; }
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, cudaFuncAttribute, int bytes) {
  return static_cast<size_t>(bytes) <= sizeof shared ? cudaSuccess : cudaErrorInvalidValue;
}

template <typename... Wanted, typename... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Wanted...), Given&&... given) {
  const std::tuple<Wanted...> arguments(given...);
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  host::body = [&] { std::apply(kernel, arguments); };
  for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y) {
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) host::run_block(static_cast<int>(blockDim.x));
  }
  return cudaSuccess;
}
