"""Tables made from the records of experiments on LoRD: the data behind what the book shows."""
