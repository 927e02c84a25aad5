"""How many machines a number of listeners needs: costs as measured, arithmetic, and simulation."""
