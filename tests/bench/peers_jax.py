"""The works of peers.py in plain JAX with optax: the whole step under one jit; bf16 casts the products' inputs."""
import os


def before_import(threads):
    """XLA's CPU team has as many threads as the process may use cores; XLA looks once, when it is loaded."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=%s" % ("true" if threads > 1 else "false")
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-threads:]))


def make_step(work, mode, batch, threads):
    before_import(threads)
    import jax
    import jax.numpy as jnp
    import optax
    from jax import random

    net = Networks(jax, jnp.bfloat16 if "bf16" in mode else jnp.float32)
    g, d, gp, dp, zs, xs = net.make(work)

    if work.startswith("sample"):
        sample, count = jax.jit(lambda p, key: g(p, random.uniform(key, (batch, 100)))), [0]

        def step():
            count[0] += 1
            sample(gp, random.key(count[0])).block_until_ready()
        return step, jax.__version__

    if work == "book":
        d_opt, g_opt = optax.rmsprop(2e-4), optax.rmsprop(1e-4)
    else:
        d_opt, g_opt = optax.adam(2e-4, 0.5, 0.9), optax.adam(2e-4, 0.5, 0.9)
    real = random.uniform(net.key, (batch,) + xs)
    latent = lambda key: random.uniform(key, (batch,) + zs, minval=-1)
    bce = lambda s, t: jnp.mean(jnp.maximum(s, 0) - s * t + jnp.log1p(jnp.exp(-jnp.abs(s))))

    def d_loss(dp, fake, drop_key, mix_key):
        if work in ("book", "mlp", "toy", "tiny"):
            s = d(dp, jnp.concatenate([real, fake]), drop_key)
            return bce(s, jnp.concatenate([jnp.ones((batch, 1)), jnp.zeros((batch, 1))]))
        if work == "wgangp":
            e = random.uniform(mix_key, (batch, 1, 1, 1))
            grad = jax.grad(lambda m: d(dp, m).sum())(e * real + (1 - e) * fake)
            penalty = jnp.mean((jnp.sqrt((grad ** 2).sum((1, 2, 3)) + 1e-12) - 1) ** 2)
            return d(dp, fake).mean() - d(dp, real).mean() + 10 * penalty
        return bce(d(dp, real), 1.0) + bce(d(dp, fake), 0.0)

    def g_loss(gp, dp, key, drop_key):
        s = d(dp, g(gp, latent(key)), drop_key if work == "mlp" else None)
        return -s.mean() if work == "wgangp" else bce(s, 1.0)

    @jax.jit
    def run(gp, dp, gs, ds, key):
        k1, k2, k3, k4 = random.split(key, 4)
        fake = g(gp, latent(k1))
        loss, grad = jax.value_and_grad(d_loss)(dp, fake, k3, k4)
        update, ds = d_opt.update(grad, ds)
        dp = optax.apply_updates(dp, update)
        update, gs = g_opt.update(jax.grad(g_loss)(gp, dp, k2, k4), gs)
        return optax.apply_updates(gp, update), dp, gs, ds, loss

    state, count = [gp, dp, g_opt.init(gp), d_opt.init(dp)], [0]

    def step():
        count[0] += 1
        *state[:], loss = run(*state, random.key(count[0]))
        loss.block_until_ready()
    return step, jax.__version__


class Networks:
    """Builds G and D of a work as functions of (parameters, input); `dtype` is that of the products' inputs."""

    def __init__(self, jax, dtype):
        self.jax, self.np, self.lax, self.dtype = jax, jax.numpy, jax.lax, dtype
        self.key = jax.random.key(0)
        self.keys = iter(jax.random.split(self.key, 64))

    def weight(self, *shape):
        return self.jax.random.normal(next(self.keys), shape) * 0.02

    def conv(self, x, w, stride, pad="SAME"):
        names = ("NHWC", "HWIO", "NHWC")
        return self.lax.conv_general_dilated(x.astype(self.dtype), w.astype(self.dtype), (stride, stride), pad, dimension_numbers=names)

    def conv_t(self, x, w, stride, pad="SAME"):
        names = ("NHWC", "HWIO", "NHWC")
        return self.lax.conv_transpose(x.astype(self.dtype), w.astype(self.dtype), (stride, stride), pad, dimension_numbers=names)

    def norm(self, x, gamma, beta):
        x = x.astype(self.np.float32)
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (x - mean) * self.lax.rsqrt(var + 1e-5) * gamma + beta

    def leaky(self, x):
        return self.np.where(x > 0, x, 0.2 * x)

    def make(self, work):
        """G, D, their parameters, shape of a latent vector, shape of an image."""
        if work == "dcgan64":
            return self.dcgan64()
        if work in ("mlp", "toy", "tiny"):
            return self.dense(work)
        return self.book()

    def book(self):
        np, relu, T = self.np, self.jax.nn.relu, self.dtype
        g_strides, d_strides = (2, 2, 1, 1), (2, 2, 2, 1)
        gp = {"w": self.weight(100, 6272), "b": np.zeros(6272), "c": []}
        for cin, cout in ((128, 128), (128, 64), (64, 32), (32, 1)):
            gp["c"].append((np.ones(cin), np.zeros(cin), self.weight(5, 5, cin, cout), np.zeros(cout)))
        dp = {"c": [], "w": self.weight(4096, 1), "b": np.zeros(1)}
        for cin, cout in ((1, 32), (32, 64), (64, 128), (128, 256)):
            dp["c"].append((self.weight(5, 5, cin, cout), np.zeros(cout)))

        def g(p, z):
            h = (z.astype(T) @ p["w"].astype(T) + p["b"].astype(T)).reshape(-1, 7, 7, 128)
            for (gamma, beta, w, b), stride in zip(p["c"], g_strides):
                h = self.conv_t(relu(self.norm(h, gamma, beta)), w, stride) + b.astype(T)
            return self.jax.nn.sigmoid(h.astype(np.float32))

        def d(p, x, key=None):
            h = x
            for (w, b), stride in zip(p["c"], d_strides):
                h = self.conv(self.leaky(h), w, stride) + b.astype(T)
            return h.reshape(h.shape[0], -1).astype(np.float32) @ p["w"] + p["b"]
        return g, d, gp, dp, (100,), (28, 28, 1)

    def dcgan64(self):
        np, relu = self.np, self.jax.nn.relu
        gp = {"c": [], "w": self.weight(4, 4, 64, 3)}
        for cin, cout in ((100, 512), (512, 256), (256, 128), (128, 64)):
            gp["c"].append((self.weight(4, 4, cin, cout), np.ones(cout), np.zeros(cout)))
        dp = {"a": self.weight(4, 4, 3, 64), "c": [], "w": self.weight(4, 4, 512, 1)}
        for cin, cout in ((64, 128), (128, 256), (256, 512)):
            dp["c"].append((self.weight(4, 4, cin, cout), np.ones(cout), np.zeros(cout)))

        def g(p, z):
            h = z
            for i, (w, gamma, beta) in enumerate(p["c"]):
                h = relu(self.norm(self.conv_t(h, w, 2 if i else 1, "SAME" if i else "VALID"), gamma, beta))
            return np.tanh(self.conv_t(h, p["w"], 2).astype(np.float32))

        def d(p, x, key=None):
            h = self.leaky(self.conv(x, p["a"], 2))
            for w, gamma, beta in p["c"]:
                h = self.leaky(self.norm(self.conv(h, w, 2), gamma, beta))
            return self.conv(h, p["w"], 1, "VALID").reshape(-1, 1).astype(np.float32)
        return g, d, gp, dp, (1, 1, 100), (64, 64, 3)

    def dense(self, work):
        np, random, T = self.np, self.jax.random, self.dtype
        act = self.leaky if work == "mlp" else self.jax.nn.relu

        def parameters(*sizes):
            return [(self.weight(sizes[i], sizes[i + 1]), np.zeros(sizes[i + 1])) for i in range(len(sizes) - 1)]

        def net(p, x, key=None):  # a key means dropout of 0.3
            for i, (w, b) in enumerate(p):
                x = x.astype(T) @ w.astype(T) + b.astype(T)
                if i < len(p) - 1:
                    x = act(x)
                    if key is not None:
                        x = np.where(random.bernoulli(random.fold_in(key, i), 0.7, x.shape), x / 0.7, 0)
            return x.astype(np.float32)

        if work == "mlp":
            g = lambda p, z: self.jax.nn.sigmoid(net(p, z))
            return g, net, parameters(100, 256, 1024, 784), parameters(784, 1024, 512, 1), (100,), (784,)
        hidden = (512,) * 3 if work == "toy" else (128,) * 2
        d = lambda p, x, key=None: net(p, x)
        return net, d, parameters(2, *hidden, 2), parameters(2, *hidden, 1), (2,), (2,)
