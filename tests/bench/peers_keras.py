"""The works of peers.py in Keras on TensorFlow: a tf.function per step, XLA on request, bf16 by Keras' mixed policy."""
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import tensorflow as tf
from keras import layers as L

JOINT = ("book", "mlp", "toy", "tiny")  # D sees real and fake as one batch


def book():
    g = [keras.Input((100,)), L.Dense(6272), L.Reshape((7, 7, 128))]
    for cout, stride in ((128, 2), (64, 2), (32, 1), (1, 1)):
        g += [L.BatchNormalization(), L.ReLU(), L.Conv2DTranspose(cout, 5, stride, "same")]
    d = [keras.Input((28, 28, 1))]
    for cout, stride in ((32, 2), (64, 2), (128, 2), (256, 1)):
        d += [L.LeakyReLU(0.2), L.Conv2D(cout, 5, stride, "same")]
    g.append(L.Activation("sigmoid", dtype="float32"))
    d += [L.Flatten(), L.Dense(1, dtype="float32")]
    return keras.Sequential(g), keras.Sequential(d), (100,), (28, 28, 1)


def dcgan64():
    g = [keras.Input((1, 1, 100))]
    for cout, stride, pad in ((512, 1, "valid"), (256, 2, "same"), (128, 2, "same"), (64, 2, "same")):
        g += [L.Conv2DTranspose(cout, 4, stride, pad, use_bias=False), L.BatchNormalization(), L.ReLU()]
    g += [L.Conv2DTranspose(3, 4, 2, "same", use_bias=False), L.Activation("tanh", dtype="float32")]
    d = [keras.Input((64, 64, 3)), L.Conv2D(64, 4, 2, "same", use_bias=False), L.LeakyReLU(0.2)]
    for cout in (128, 256, 512):
        d += [L.Conv2D(cout, 4, 2, "same", use_bias=False), L.BatchNormalization(), L.LeakyReLU(0.2)]
    d += [L.Conv2D(1, 4, 1, "valid", use_bias=False), L.Flatten(dtype="float32")]
    return keras.Sequential(g), keras.Sequential(d), (1, 1, 100), (64, 64, 3)


def demo():
    g = keras.Sequential([
        keras.Input((32,)), L.Dense(4704, use_bias=False), L.Reshape((7, 7, 96)), L.BatchNormalization(), L.ReLU(),
        L.Conv2DTranspose(48, 4, 2, "same", use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.Conv2DTranspose(1, 4, 2, "same"), L.Activation("tanh", dtype="float32")])
    d = keras.Sequential([
        keras.Input((28, 28, 1)), L.Conv2D(32, 4, 2, "same"), L.LeakyReLU(0.2), L.Conv2D(64, 4, 2, "same"), L.LeakyReLU(0.2),
        L.Conv2D(128, 3, 2, "same"), L.LeakyReLU(0.2), L.Flatten(), L.Dense(1, dtype="float32")])
    return g, d, (32,), (28, 28, 1)


def mlp(sizes, act, last=None, dropout=0):
    layers = [keras.Input((sizes[0],))]
    for i, size in enumerate(sizes[1:]):
        layers.append(L.Dense(size))
        if i < len(sizes) - 2:
            layers += [act()] + ([L.Dropout(dropout)] if dropout else [])
    return keras.Sequential(layers + ([L.Activation(last)] if last else []))


def networks(work):
    """G, D, shape of a latent vector, shape of an image."""
    if work == "dcgan64":
        return dcgan64()
    if work == "demo":
        return demo()
    if work == "mlp":
        leaky = lambda: L.LeakyReLU(0.2)
        return mlp((100, 256, 1024, 784), leaky, "sigmoid"), mlp((784, 1024, 512, 1), leaky, None, 0.3), (100,), (784,)
    if work in ("toy", "tiny"):
        hidden = (512,) * 3 if work == "toy" else (128,) * 2
        return mlp((2, *hidden, 2), L.ReLU), mlp((2, *hidden, 1), L.ReLU), (2,), (2,)
    return book()


def bce(logits, target):
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, tf.cast(logits, tf.float32)))


def make_step(work, mode, batch, threads):
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if "bf16" in mode:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    version = "keras %s tf %s" % (keras.__version__, tf.__version__)
    xla = "xla" in mode
    g, d, zs, xs = networks(work)

    if work.startswith("sample"):
        sample = tf.function(lambda: g(tf.random.uniform((batch, 100)), training=False), jit_compile=xla)
        return (lambda: sample().numpy()), version

    average = [tf.Variable(v) for v in g.trainable_variables] if work == "demo" else []
    real = tf.random.uniform((batch,) + xs)
    ones, zeros = tf.ones((batch, 1)), tf.zeros((batch, 1))
    both = tf.concat([ones, zeros], 0)
    if work == "book":
        d_opt, g_opt = keras.optimizers.RMSprop(2e-4), keras.optimizers.RMSprop(1e-4)
    else:
        d_opt, g_opt = (keras.optimizers.Adam(2e-4, 0.5, 0.9) for _ in "dg")
    d_opt.build(d.trainable_variables)
    g_opt.build(g.trainable_variables)
    latent = lambda: tf.random.uniform((batch,) + zs, -1, 1)

    def d_loss(fake):
        if work in JOINT:
            return bce(d(tf.concat([real, tf.cast(fake, tf.float32)], 0), training=True), both)
        if work == "wgangp":
            e = tf.random.uniform((batch, 1, 1, 1))
            mix = e * real + (1 - e) * fake
            with tf.GradientTape() as inner:
                inner.watch(mix)
                s = tf.reduce_sum(d(mix, training=True))
            grad = inner.gradient(s, mix)
            penalty = tf.reduce_mean(tf.square(tf.sqrt(tf.reduce_sum(tf.square(grad), [1, 2, 3]) + 1e-12) - 1))
            return tf.reduce_mean(d(fake, training=True)) - tf.reduce_mean(d(real, training=True)) + 10 * penalty
        if work == "demo":
            with tf.GradientTape() as inner:
                inner.watch(real)
                s = d(real, training=True)
                total = tf.reduce_sum(tf.cast(s, tf.float32))
            grad = inner.gradient(total, real)
            r1 = tf.reduce_mean(tf.reduce_sum(tf.square(grad), [1, 2, 3]))
            return bce(s, ones) + bce(d(fake, training=True), zeros) + 0.25 * r1
        return bce(d(real, training=True), ones) + bce(d(fake, training=True), zeros)

    def run():
        fake = g(latent(), training=True)
        with tf.GradientTape() as tape:
            loss = d_loss(fake)
        d_opt.apply(tape.gradient(loss, d.trainable_variables), d.trainable_variables)
        with tf.GradientTape() as tape:
            s = d(g(latent(), training=True), training=True)
            g_loss = -tf.reduce_mean(s) if work == "wgangp" else bce(s, ones)
        g_opt.apply(tape.gradient(g_loss, g.trainable_variables), g.trainable_variables)
        for mean, now in zip(average, g.trainable_variables):
            mean.assign_add(1e-3 * (now - mean))
        return loss

    step = tf.function(run, jit_compile=xla)
    return (lambda: step().numpy()), version
