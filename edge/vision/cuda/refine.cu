// Variational refinement of a flow (Brox et al., ECCV 2004), as OpenCV's VariationalRefinement does
// it: constancy of grey value and gradient, robust smoothness, fixed-point iterations around
// red-black successive over-relaxation. And the step to the next finer level.

#define OVER_RELAXATION 1.6f
#define ZETA_SQUARED (0.1f * 0.1f)

// Planes of the scratch buffer, each width x height.
enum {
    MEAN, IZ, IX, IY, IXZ, IYZ, IXX, IXY, IYY,
    A11, A12, A22, B1, B2, WEIGHT, DU, DV, U_NOW, V_NOW, REFINE_PLANES
};

struct Refinement {
    float *planes;
    int width, height, pixels;
    float delta, gamma, alpha, epsilon_squared;  // delta, gamma and alpha already halved
    __device__ float *plane(int which) const { return planes + which * pixels; }
};

__device__ float slope_x(const float *image, int x, int y, int width)
{
    const float *row = image + y * width;
    return row[min(x + 1, width - 1)] - row[max(x - 1, 0)];
}

__device__ float slope_y(const float *image, int x, int y, int width, int height)
{
    return image[min(y + 1, height - 1) * width + x] - image[max(y - 1, 0) * width + x];
}

// Value between four neighbours, in fused steps.
__device__ float between(float above_left, float above_right, float below_left, float below_right,
                         float share_x, float share_y)
{
    const float above = fmaf(share_x, above_right - above_left, above_left);
    const float below = fmaf(share_x, below_right - below_left, below_left);
    return fmaf(share_y, below - above, above);
}

// The second picture at (x + u, y + v), beyond the edge repeated; written with fused steps because
// OpenCV's remap is.
__device__ float warped(const unsigned char *image, float x, float y, int width, int height)
{
    const float x_floor = floorf(x), y_floor = floorf(y);
    const float share_x = x - x_floor, share_y = y - y_floor;
    const int left = min(max((int)x_floor, 0), width - 1);
    const int right = min(max((int)x_floor + 1, 0), width - 1);
    const unsigned char *a = image + min(max((int)y_floor, 0), height - 1) * width;
    const unsigned char *b = image + min(max((int)y_floor + 1, 0), height - 1) * width;
    return between(a[left], a[right], b[left], b[right], share_x, share_y);
}

// Data term of one pixel's 2 x 2 system, linearised at the flow so far.
__device__ void data_term(const Refinement &r, int p)
{
    const float ix = r.plane(IX)[p], iy = r.plane(IY)[p], iz = r.plane(IZ)[p];
    const float du = r.plane(DU)[p], dv = r.plane(DV)[p];
    float norm = ix * ix + iy * iy + ZETA_SQUARED;
    const float residual = iz + ix * du + iy * dv;
    float weight = r.delta / sqrtf(residual * residual / norm + r.epsilon_squared) / norm;
    float a11 = weight * (ix * ix) + ZETA_SQUARED;
    float a12 = weight * (ix * iy);
    float a22 = weight * (iy * iy) + ZETA_SQUARED;
    float b1 = -(weight * (iz * ix));
    float b2 = -(weight * (iz * iy));

    const float ixx = r.plane(IXX)[p], ixy = r.plane(IXY)[p], iyy = r.plane(IYY)[p];
    const float ixz = r.plane(IXZ)[p], iyz = r.plane(IYZ)[p];
    norm = ixx * ixx + ixy * ixy + ZETA_SQUARED;
    const float norm_y = iyy * iyy + ixy * ixy + ZETA_SQUARED;
    const float residual_x = ixz + ixx * du + ixy * dv;
    const float residual_y = iyz + ixy * du + iyy * dv;
    weight = r.gamma / sqrtf(residual_x * residual_x / norm + residual_y * residual_y / norm_y
                             + r.epsilon_squared);
    a11 = a11 + weight * (ixx * ixx / norm + ixy * ixy / norm_y);
    a12 = a12 + weight * (ixx * ixy / norm + ixy * iyy / norm_y);
    a22 = a22 + weight * (ixy * ixy / norm + iyy * iyy / norm_y);
    b1 = b1 - weight * (ixx * ixz / norm + ixy * iyz / norm_y);
    b2 = b2 - weight * (ixy * ixz / norm + iyy * iyz / norm_y);
    r.plane(A11)[p] = a11;
    r.plane(A12)[p] = a12;
    r.plane(A22)[p] = a22;
    r.plane(B1)[p] = b1;
    r.plane(B2)[p] = b2;
}

// Weight of the smoothness between a pixel and its right and lower neighbours.
__device__ void smoothness_weight(const Refinement &r, int x, int y, int p)
{
    const float *u = r.plane(U_NOW), *v = r.plane(V_NOW);
    const int right = x + 1 < r.width ? p + 1 : p, below = y + 1 < r.height ? p + r.width : p;
    const float ux = u[right] - u[p], vx = v[right] - v[p];
    const float uy = u[below] - u[p], vy = v[below] - v[p];
    r.plane(WEIGHT)[p] =
        r.alpha / sqrtf(ux * ux + vx * vx + uy * uy + vy * vy + r.epsilon_squared);
}

// One neighbour's share of the smoothness term. sign: +1 towards right and below, -1 from left
// and above.
__device__ void pull(const Refinement &r, const float *u, const float *v, int from, int to,
                     int here, float sign)
{
    const float weight = r.plane(WEIGHT)[from];
    r.plane(B1)[here] += sign * (weight * (u[to] - u[from]));
    r.plane(A11)[here] += weight;
    r.plane(B2)[here] += sign * (weight * (v[to] - v[from]));
    r.plane(A22)[here] += weight;
}

// All four neighbours' shares, in the order in which OpenCV's passes over red and black cells add
// them.
__device__ void smoothness_term(const Refinement &r, const float *u, const float *v, int x, int y)
{
    const int p = y * r.width + x;
    const bool red = (x + y) % 2 == 0;
    const bool right = x + 1 < r.width, below = y + 1 < r.height;
    if (red && right) pull(r, u, v, p, p + 1, p, 1.0f);
    if (x > 0) pull(r, u, v, p - 1, p, p, -1.0f);
    if (!red && right) pull(r, u, v, p, p + 1, p, 1.0f);
    if (red && below) pull(r, u, v, p, p + r.width, p, 1.0f);
    if (y > 0) pull(r, u, v, p - r.width, p, p, -1.0f);
    if (!red && below) pull(r, u, v, p, p + r.width, p, 1.0f);
}

__device__ float neighbours(const Refinement &r, const float *increment, int x, int y, int p)
{
    const float *weight = r.plane(WEIGHT);
    const float left = x > 0 ? weight[p - 1] * increment[p - 1] : 0.0f;
    const float right = x + 1 < r.width ? weight[p] * increment[p + 1] : 0.0f;
    const float above = y > 0 ? weight[p - r.width] * increment[p - r.width] : 0.0f;
    const float below = y + 1 < r.height ? weight[p] * increment[p + r.width] : 0.0f;
    return left + right + above + below;
}

__device__ void relax(const Refinement &r, int x, int y)
{
    const int p = y * r.width + x;
    float *du = r.plane(DU), *dv = r.plane(DV);
    const float from_u = neighbours(r, du, x, y, p), from_v = neighbours(r, dv, x, y, p);
    const float a12 = r.plane(A12)[p];
    float u = du[p], v = dv[p];
    u = u + OVER_RELAXATION * ((from_u + r.plane(B1)[p] - v * a12) / r.plane(A11)[p] - u);
    v = v + OVER_RELAXATION * ((from_v + r.plane(B2)[p] - u * a12) / r.plane(A22)[p] - v);
    du[p] = u;
    dv[p] = v;
}

#define EACH_PIXEL(p) for (int p = threadIdx.x; p < r.pixels; p += blockDim.x)

// Refines u and v in place. One block does one level, because everything waits for everything else
// between its half-sweeps; several cameras fill several multiprocessors.
// Twin of cv2.VariationalRefinement.calcUV, bit-equal where neither side contracts.
extern "C" __global__ void __launch_bounds__(1024)
refine(const unsigned char *__restrict__ first, const unsigned char *__restrict__ second,
       float *u, float *v, float *planes, int width, int height, int iterations, int sweeps,
       float alpha, float delta, float gamma, float epsilon)
{
    Refinement r;
    r.planes = planes;
    r.width = width; r.height = height; r.pixels = width * height;
    r.alpha = alpha / 2.0f; r.delta = delta / 2.0f; r.gamma = gamma / 2.0f;
    r.epsilon_squared = epsilon * epsilon;

    EACH_PIXEL(p) {
        const float x = (float)(p % width) + u[p], y = (float)(p / width) + v[p];
        const float there = warped(second, x, y, width, height), here = (float)first[p];
        r.plane(MEAN)[p] = 0.5f * here + 0.5f * there;
        r.plane(IZ)[p] = there - here;
        r.plane(DU)[p] = 0.0f;
        r.plane(DV)[p] = 0.0f;
        r.plane(U_NOW)[p] = u[p];
        r.plane(V_NOW)[p] = v[p];
    }
    __syncthreads();
    EACH_PIXEL(p) {
        const int x = p % width, y = p / width;
        r.plane(IX)[p] = slope_x(r.plane(MEAN), x, y, width);
        r.plane(IY)[p] = slope_y(r.plane(MEAN), x, y, width, height);
        r.plane(IXZ)[p] = slope_x(r.plane(IZ), x, y, width);
        r.plane(IYZ)[p] = slope_y(r.plane(IZ), x, y, width, height);
    }
    __syncthreads();
    EACH_PIXEL(p) {
        const int x = p % width, y = p / width;
        r.plane(IXX)[p] = slope_x(r.plane(IX), x, y, width);
        r.plane(IXY)[p] = slope_y(r.plane(IX), x, y, width, height);
        r.plane(IYY)[p] = slope_y(r.plane(IY), x, y, width, height);
    }
    const int half = (width + 1) / 2;
    for (int iteration = 0; iteration < iterations; ++iteration) {
        __syncthreads();
        EACH_PIXEL(p) {
            data_term(r, p);
            smoothness_weight(r, p % width, p / width, p);
        }
        __syncthreads();
        EACH_PIXEL(p) smoothness_term(r, u, v, p % width, p / width);
        __syncthreads();
        for (int sweep = 0; sweep < 2 * sweeps; ++sweep) {
            for (int k = threadIdx.x; k < half * height; k += blockDim.x) {
                const int y = k / half, x = k % half * 2 + ((y + sweep) & 1);
                if (x < width) relax(r, x, y);
            }
            __syncthreads();
        }
        EACH_PIXEL(p) {
            r.plane(U_NOW)[p] = u[p] + r.plane(DU)[p];
            r.plane(V_NOW)[p] = v[p] + r.plane(DV)[p];
        }
    }
    __syncthreads();
    EACH_PIXEL(p) {
        u[p] = r.plane(U_NOW)[p];
        v[p] = r.plane(V_NOW)[p];
    }
}

// The value between four neighbours as a weighted sum.
__device__ float weighted(float above_left, float above_right, float below_left, float below_right,
                          float share_x, float share_y)
{
    const float above = above_left * (1.0f - share_x) + above_right * share_x;
    const float below = below_left * (1.0f - share_x) + below_right * share_x;
    return above * (1.0f - share_y) + below * share_y;
}

// Twin of cv2.resize(INTER_LINEAR) of u and v, times `factor`: the start of the next finer level,
// or with pair = 1 the result, u and v interleaved in out_u. Columns and rows come as tables. One
// plane alone and two interleaved ones are different code in OpenCV, and round differently.
extern "C" __global__ void enlarge(const float *__restrict__ u, const float *__restrict__ v,
                                   float *__restrict__ out_u, float *__restrict__ out_v,
                                   int src_width, int src_height, int width, int height,
                                   const int *__restrict__ x_low,
                                   const float *__restrict__ x_share,
                                   const int *__restrict__ y_low,
                                   const float *__restrict__ y_share, float factor, int pair)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= width * height) return;
    const int x0 = x_low[t % width], y0 = y_low[t / width];
    const int x1 = min(x0 + 1, src_width - 1), y1 = min(y0 + 1, src_height - 1);
    const int above_left = y0 * src_width + x0, above_right = y0 * src_width + x1;
    const int below_left = y1 * src_width + x0, below_right = y1 * src_width + x1;
    const float share_x = x_share[t % width], share_y = y_share[t / width];
    if (pair) {
        out_u[2 * t] = factor * weighted(u[above_left], u[above_right], u[below_left],
                                         u[below_right], share_x, share_y);
        out_u[2 * t + 1] = factor * weighted(v[above_left], v[above_right], v[below_left],
                                             v[below_right], share_x, share_y);
    } else {
        out_u[t] = factor * between(u[above_left], u[above_right], u[below_left],
                                    u[below_right], share_x, share_y);
        out_v[t] = factor * between(v[above_left], v[above_right], v[below_left],
                                    v[below_right], share_x, share_y);
    }
}
