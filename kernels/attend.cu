// Cross-attention retrieval in CUDA C++ (kernels/__init__.py has the definition), for compute capability 8.0 and
// later. Compiled by kernels/cuda_path.py; it has been compiled, and has not yet run on a GPU.
//
// One block of 8 warps reads a share of the candidates for one query. A tile of TOKENS tokens lies in shared
// memory as float32; each warp takes a candidate, reads ROWS of its segments at a time, each 32 lanes wide, and
// keeps the running maximum, sum and weighted sum of the softmax of one token in each of its first TOKENS lanes.
// A round of 8 candidates then enters the block's best, which stand sorted in shared memory. A row is read once
// for TOKENS tokens and a token once for ROWS rows, and the scores are never written.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int WARPS = 8;
constexpr int LANES = 32;
constexpr int TOKENS = 8;
constexpr int ROWS = 4;
constexpr unsigned ALL = 0xffffffffu;
constexpr long long NOTHING = INT64_MIN;

__device__ float number(float value) { return value; }
__device__ float number(__half value) { return __half2float(value); }
__device__ float number(__nv_bfloat16 value) { return __bfloat162float(value); }

// See kernels/keys.py. Adding 0 makes -0 equal to 0.
__device__ long long key_of(float score, long long candidate) {
  const int bits = __float_as_int(score + 0.0f);
  const int rising = bits ^ ((bits >> 31) & 0x7fffffff);
  return (static_cast<long long>(rising) << 32) | (0xffffffffll - candidate);
}

__device__ float sum_of_warp(float value) {
  for (int step = LANES / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL, value, step);
  return value;
}

// Puts `key` in its place among the k of `best`, which fall; called by the whole block with the same key.
__device__ void insert(long long* best, int k, long long key) {
  if (key <= best[k - 1]) return;
  const int me = threadIdx.x;  // k is at most the number of threads
  const long long mine = me < k ? best[me] : NOTHING;
  const int place = __syncthreads_count(me < k && mine > key);
  if (me < k && me >= place && me + 1 < k) best[me + 1] = mine;
  if (me == place) best[place] = key;
  __syncthreads();
}

template <typename Number>
__global__ void __launch_bounds__(WARPS* LANES)
    best_of_share(const Number* __restrict__ tokens, const int64_t* __restrict__ token_offsets,
                  const Number* __restrict__ segments, const int64_t* __restrict__ segment_offsets,
                  long long* __restrict__ keys, int64_t candidates, int dim, int64_t share_size,
                  float inverse_temperature, int k) {
  extern __shared__ long long shared[];
  long long* const best = shared;  // [k], falling
  long long* const round = best + WARPS * LANES;  // [WARPS]
  float* const tile = reinterpret_cast<float*>(round + WARPS);  // [TOKENS, dim]
  const int lane = threadIdx.x % LANES;
  const int warp = threadIdx.x / LANES;
  const int64_t query = blockIdx.y;
  const int64_t token_first = token_offsets[query];
  const int64_t token_count = token_offsets[query + 1] - token_first;
  const int64_t share_first = blockIdx.x * share_size;
  const int64_t share_last = min(share_first + share_size, candidates);

  best[threadIdx.x] = NOTHING;
  for (int64_t base = share_first; base < share_last; base += WARPS) {
    const int64_t candidate = base + warp;
    const bool there = candidate < share_last;
    const int64_t first = there ? segment_offsets[candidate] : 0;
    const int64_t last = there ? segment_offsets[candidate + 1] : 0;
    float total = 0.0f;  // of this lane's tokens

    for (int64_t token = 0; token < token_count; token += TOKENS) {
      const int here = token_count - token < TOKENS ? static_cast<int>(token_count - token) : TOKENS;
      __syncthreads();  // the tile before this one has been read
      for (int at = threadIdx.x; at < TOKENS * dim; at += WARPS * LANES) {
        tile[at] = at / dim < here ? number(tokens[(token_first + token) * dim + at]) : 0.0f;
      }
      __syncthreads();

      float highest = -INFINITY;
      float weight = 0.0f;
      float weighted = 0.0f;
      for (int64_t row = first; row < last; row += ROWS) {
        float product[ROWS][TOKENS] = {};
        for (int column = lane; column < dim; column += LANES) {
          float value[ROWS];
#pragma unroll
          for (int r = 0; r < ROWS; ++r) {
            value[r] = row + r < last ? number(segments[(row + r) * dim + column]) : 0.0f;
          }
#pragma unroll
          for (int t = 0; t < TOKENS; ++t) {
            const float token_value = tile[t * dim + column];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) product[r][t] = fmaf(value[r], token_value, product[r][t]);
          }
        }
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
          float similarity = 0.0f;  // of row r with this lane's token
#pragma unroll
          for (int t = 0; t < TOKENS; ++t) {
            const float sum = sum_of_warp(product[r][t]);
            if (lane == t) similarity = sum;
          }
          if (row + r < last) {
            const float logit = similarity * inverse_temperature;
            const float higher = fmaxf(highest, logit);
            const float old = expf(highest - higher);  // 0 at first: exp(-inf)
            const float fresh = expf(logit - higher);
            weight = weight * old + fresh;
            weighted = weighted * old + fresh * similarity;
            highest = higher;
          }
        }
      }
      if (lane < here && first < last) total += weighted / weight;
    }

    total = sum_of_warp(total);
    if (lane == 0) {
      const bool scored = first < last && token_count > 0;
      round[warp] = scored ? key_of(total / static_cast<float>(token_count), candidate) : NOTHING;
    }
    __syncthreads();
    for (int w = 0; w < WARPS; ++w) insert(best, k, round[w]);
  }
  __syncthreads();
  const int place = static_cast<int>(threadIdx.x);
  if (place < k) keys[(query * gridDim.x + blockIdx.x) * k + place] = best[place];
}

template <typename Number>
int launch(const void* tokens, const int64_t* token_offsets, const void* segments,
           const int64_t* segment_offsets, long long* keys, int64_t queries, int64_t candidates, int dim,
           int64_t shares, float inverse_temperature, int k, cudaStream_t stream) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shares), static_cast<unsigned>(queries));
  config.blockDim = dim3(WARPS * LANES);
  config.dynamicSmemBytes = (WARPS * LANES + WARPS) * sizeof(long long) + TOKENS * dim * sizeof(float);
  config.stream = stream;
  const auto kernel = best_of_share<Number>;
  const cudaError_t allowed = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(config.dynamicSmemBytes));
  if (allowed != cudaSuccess) return allowed;
  const int64_t share_size = (candidates + shares - 1) / shares;
  return cudaLaunchKernelEx(&config, kernel, static_cast<const Number*>(tokens), token_offsets,
                            static_cast<const Number*>(segments), segment_offsets, keys, candidates, dim,
                            share_size, inverse_temperature, k);
}

}  // namespace

// keys [queries, shares, k], best first. k is at most 256. Gives a cudaError_t, 0 if all is well. `kind` is 0 for
// float32, 1 for float16, 2 for bfloat16; all pointers are on the current device.
extern "C" int sensorium_best_of_shares(int kind, const void* tokens, const int64_t* token_offsets,
                                        const void* segments, const int64_t* segment_offsets, long long* keys,
                                        int64_t queries, int64_t candidates, int dim, int64_t shares,
                                        float inverse_temperature, int k, cudaStream_t stream) {
  const auto run = kind == 0 ? launch<float> : kind == 1 ? launch<__half> : launch<__nv_bfloat16>;
  return run(tokens, token_offsets, segments, segment_offsets, keys, queries, candidates, dim, shares,
             inverse_temperature, k, stream);
}

extern "C" const char* sensorium_cuda_error(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }
