"""The paper's panorama experiment: pictures by each way of joining views, held against pictures of native size."""
