"""The recipe of Keras' transfer-learning guide: frozen ResNet50, flips and rotation, ten epochs of a new head.

python bench/keras_guide.py TABLE.csv WEIGHTS.h5 [EPOCHS]
"""

import csv
import sys

import keras
import tensorflow as tf

BATCH, SIZE = 32, 224


def photos(rows: list[dict[str, str]], classes: list[str]) -> tf.data.Dataset:
    def load(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (SIZE, SIZE)), label

    paths, labels = [row["path"] for row in rows], [classes.index(row["label"]) for row in rows]
    data = tf.data.Dataset.from_tensor_slices((paths, labels)).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def main(table: str, weights: str, epochs: int) -> None:
    with open(table, newline="") as stream:
        rows = list(csv.DictReader(stream))
    classes = sorted({row["label"] for row in rows})
    train = photos([row for row in rows if row["split"] == "train"], classes)
    validation = photos([row for row in rows if row["split"] != "train"], classes)
    whole = keras.applications.ResNet50(weights=weights)
    base = keras.Model(whole.input, whole.get_layer("conv5_block3_out").output)
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.RandomRotation(0.1)(x)
    x = keras.applications.resnet50.preprocess_input(x)
    x = keras.layers.GlobalAveragePooling2D()(base(x, training=False))
    outputs = keras.layers.Dense(len(classes), activation="softmax")(keras.layers.Dropout(0.2)(x))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(train, validation_data=validation, epochs=epochs, verbose=2)
    print(f"accuracy {history.history['val_accuracy'][-1]:.4f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 10)
