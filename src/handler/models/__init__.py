"""The values that the layers hand to each other: images, requests, outcomes, reports, errors and limits."""
