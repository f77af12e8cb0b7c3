// Energy of latent vectors under a Gaussian mixture, twin of edge.scoring.energy.MixtureEnergy.
// One block of 128 threads does one pair of vector and component, or one vector; sums of doubles
// except where the twin works in float32.

#define ENERGY_THREADS 128

// Sum over the block; the same in every thread.
__device__ double sum_of_block(double value, double *shared)
{
    shared[threadIdx.x] = value;
    __syncthreads();
    for (int half = ENERGY_THREADS / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    const double sum = shared[0];
    __syncthreads();
    return sum;
}

__device__ double largest_of_block(double value, double *shared)
{
    shared[threadIdx.x] = value;
    __syncthreads();
    for (int half = ENERGY_THREADS / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half)
            shared[threadIdx.x] = fmax(shared[threadIdx.x], shared[threadIdx.x + half]);
        __syncthreads();
    }
    const double largest = shared[0];
    __syncthreads();
    return largest;
}

// log pi_c + log N(z; mu_c, diag). Block n * components + c; precision = 1 / standard deviation.
extern "C" __global__ void log_joint_diagonal(const float *__restrict__ z,
                                              const double *__restrict__ means,
                                              const double *__restrict__ precision,
                                              const double *__restrict__ constant,
                                              double *__restrict__ joint, int components,
                                              int dimensions)
{
    __shared__ double shared[ENERGY_THREADS];
    const int n = blockIdx.x / components, c = blockIdx.x % components;
    double sum = 0.0;
    for (int j = threadIdx.x; j < dimensions; j += blockDim.x) {
        const double d = ((double)z[n * dimensions + j] - means[c * dimensions + j])
                         * precision[c * dimensions + j];
        sum += d * d;
    }
    sum = sum_of_block(sum, shared);
    if (threadIdx.x == 0) joint[blockIdx.x] = constant[c] - 0.5 * sum;
}

// The same with a full covariance: precision factors P, Sigma^-1 = P P^T.
extern "C" __global__ void log_joint_full(const float *__restrict__ z,
                                          const double *__restrict__ means,
                                          const double *__restrict__ precision,
                                          const double *__restrict__ constant,
                                          double *__restrict__ joint, int components,
                                          int dimensions)
{
    __shared__ double shared[ENERGY_THREADS];
    const int n = blockIdx.x / components, c = blockIdx.x % components;
    const double *factor = precision + (size_t)c * dimensions * dimensions;
    double sum = 0.0;
    for (int i = threadIdx.x; i < dimensions; i += blockDim.x) {
        double projected = 0.0;
        for (int j = 0; j < dimensions; ++j)
            projected += ((double)z[n * dimensions + j] - means[c * dimensions + j])
                         * factor[j * dimensions + i];
        sum += projected * projected;
    }
    sum = sum_of_block(sum, shared);
    if (threadIdx.x == 0) joint[blockIdx.x] = constant[c] - 0.5 * sum;
}

// Spherical: z around the middle of the means, once for all components. Block n.
extern "C" __global__ void centre(const float *__restrict__ z, const double *__restrict__ middle,
                                  float *__restrict__ centred, double *__restrict__ exact,
                                  double *__restrict__ squares, int dimensions)
{
    __shared__ double shared[ENERGY_THREADS];
    const int n = blockIdx.x;
    double sum = 0.0;
    for (int j = threadIdx.x; j < dimensions; j += blockDim.x) {
        const double d = (double)z[n * dimensions + j] - middle[j];
        centred[n * dimensions + j] = (float)d;
        exact[n * dimensions + j] = d;
        sum += d * d;
    }
    sum = sum_of_block(sum, shared);
    if (threadIdx.x == 0) squares[n] = sum;
}

// One thread does one pair, dimension by dimension; directions (dimensions x components) are
// mu_c / variance_c, so neighbouring threads read neighbouring numbers.
extern "C" __global__ void log_joint_spherical(const float *__restrict__ centred,
                                               const double *__restrict__ squares,
                                               const float *__restrict__ directions,
                                               const float *__restrict__ constant,
                                               const float *__restrict__ half_precision,
                                               double *__restrict__ joint, int count,
                                               int components, int dimensions)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= count * components) return;
    const int n = t / components, c = t % components;
    float sum = 0.0f;
    for (int j = 0; j < dimensions; ++j)
        sum = fmaf(centred[n * dimensions + j], directions[j * components + c], sum);
    joint[t] = (double)(sum + constant[c] - (float)squares[n] * half_precision[c]);
}

extern "C" __global__ void log_joint_spherical_exact(const double *__restrict__ centred,
                                                     const double *__restrict__ squares,
                                                     const double *__restrict__ directions,
                                                     const double *__restrict__ constant,
                                                     const double *__restrict__ half_precision,
                                                     double *__restrict__ joint, int count,
                                                     int components, int dimensions)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= count * components) return;
    const int n = t / components, c = t % components;
    double sum = 0.0;
    for (int j = 0; j < dimensions; ++j)
        sum = fma(centred[n * dimensions + j], directions[j * components + c], sum);
    joint[t] = sum + constant[c] - squares[n] * half_precision[c];
}

// -log of the sum over components, by log-sum-exp. Block n.
extern "C" __global__ void energy(const double *__restrict__ joint, double *__restrict__ energy,
                                  int components)
{
    __shared__ double shared[ENERGY_THREADS];
    const double *row = joint + (size_t)blockIdx.x * components;
    double peak = row[0];
    for (int c = threadIdx.x; c < components; c += blockDim.x) peak = fmax(peak, row[c]);
    peak = largest_of_block(peak, shared);
    double sum = 0.0;
    for (int c = threadIdx.x; c < components; c += blockDim.x) sum += exp(row[c] - peak);
    sum = sum_of_block(sum, shared);
    if (threadIdx.x == 0) energy[blockIdx.x] = -(peak + log(sum));
}
