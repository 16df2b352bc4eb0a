"""The shortest Keras script for one photo: python bench/keras_predict.py MODEL.keras PHOTO.jpg"""

import sys

import keras

model = keras.models.load_model(sys.argv[1])
photo = keras.utils.img_to_array(keras.utils.load_img(sys.argv[2], target_size=(224, 224)))
print(model.predict(keras.applications.resnet50.preprocess_input(photo[None]), verbose=0))
