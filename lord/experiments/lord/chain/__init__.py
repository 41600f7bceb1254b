"""What a cell computes, in order: model, photographs, attack, defence, fine-tune, measure."""
