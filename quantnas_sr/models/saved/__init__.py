"""What a run saves, and what a resumed run goes on from."""
