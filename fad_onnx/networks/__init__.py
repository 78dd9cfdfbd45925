"""What a model is, as data: networks, preparations and entries of artifacts.json."""
