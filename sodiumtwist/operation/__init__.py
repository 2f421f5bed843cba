"""
What whoever is on call needs of a service that runs: to see it, to change it, to stop it, and to have more of it.
"""
