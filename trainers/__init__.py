"""TensorFlow / Keras 3 trainer; imports no Beam."""
