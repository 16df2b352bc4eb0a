"""The recipe of the Keras transfer-learning guide: ResNet50, flips and rotation, training a new head or more.

python bench/keras_guide.py TABLE.csv WEIGHTS.h5 [EPOCHS] [none|last|all]

Prints the validation accuracy and the images per second of the training steps after the first two, which compile.
"""

import csv
import sys
import time

import keras
import tensorflow as tf

BATCH, SIZE = 32, 224


class Speed(keras.callbacks.Callback):
    """Images per second of the training steps alone, from the third on."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self.steps, self._begun, self._seen = 0.0, 0, 0.0, 0

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._begun = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._seen += 1
        if self._seen > 2:
            self.seconds += time.monotonic() - self._begun
            self.steps += 1


def photos(rows: list[dict[str, str]], classes: list[str]) -> tf.data.Dataset:
    def load(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (SIZE, SIZE)), label

    paths, labels = [row["path"] for row in rows], [classes.index(row["label"]) for row in rows]
    data = tf.data.Dataset.from_tensor_slices((paths, labels)).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(BATCH, drop_remainder=len(rows) >= BATCH).prefetch(tf.data.AUTOTUNE)


def main(table: str, weights: str, epochs: int, unfreeze: str) -> None:
    with open(table, newline="") as stream:
        rows = list(csv.DictReader(stream))
    classes = sorted({row["label"] for row in rows})
    train = photos([row for row in rows if row["split"] == "train"], classes)
    validation = photos([row for row in rows if row["split"] != "train"], classes)
    whole = keras.applications.ResNet50(weights=weights)
    base = keras.Model(whole.input, whole.get_layer("conv5_block3_out").output)
    for layer in base.layers:
        layer.trainable = unfreeze == "all" or (unfreeze == "last" and layer.name.startswith("conv5"))
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.RandomRotation(0.1)(x)
    x = keras.applications.resnet50.preprocess_input(x)
    x = keras.layers.GlobalAveragePooling2D()(base(x, training=False))
    outputs = keras.layers.Dense(len(classes), activation="softmax")(keras.layers.Dropout(0.2)(x))
    model = keras.Model(inputs, outputs)
    rate = 1e-3 if unfreeze == "none" else 1e-5
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    speed = Speed()
    history = model.fit(train, validation_data=validation, epochs=epochs, verbose=2, callbacks=[speed])
    print(f"images per second {BATCH * speed.steps / speed.seconds:.2f}" if speed.steps else "")
    print(f"accuracy {history.history['val_accuracy'][-1]:.4f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 10, (sys.argv + [""] * 4)[4] or "none")
