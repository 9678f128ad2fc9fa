"""Simulation of Tailrace: builds, runs, bus agents and golden models."""
