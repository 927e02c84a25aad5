"""`bench day`: a cluster's day at a pace of minutes, with a fault every ten minutes of it, and every sample counted."""
