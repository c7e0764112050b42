"""The shortest time to a target loss: declared steps, harness time, a test over declared trials."""
