"""Pretrained models of pictures behind one interface (`images.interface`): one file a family, on what they share."""
